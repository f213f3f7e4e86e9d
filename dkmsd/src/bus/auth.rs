//! Who may change what: root always; others when polkit says so, where polkit runs; nobody else where it does not.

use std::collections::HashMap;

use dkms_core::bus::BusError;
use zbus::message::Header;
use zbus::names::BusName;
use zbus::{Connection, Variant, fdo, proxy};

/// What is asked for, as polkit's actions have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Looking, building.
    Build,
    /// Adding, installing.
    Install,
    /// Taking away.
    Remove,
    /// Ending a job.
    Cancel,
}

impl Action {
    fn id(self) -> &'static str {
        match self {
            Self::Build => "org.dkmsd1.build",
            Self::Install => "org.dkmsd1.install",
            Self::Remove => "org.dkmsd1.remove",
            Self::Cancel => "org.dkmsd1.cancel",
        }
    }
}

#[proxy(
    interface = "org.freedesktop.PolicyKit1.Authority",
    default_service = "org.freedesktop.PolicyKit1",
    default_path = "/org/freedesktop/PolicyKit1/Authority"
)]
trait Authority {
    fn check_authorization(
        &self,
        subject: &(&str, HashMap<&str, Variant<'_>>),
        action_id: &str,
        details: &HashMap<&str, &str>,
        flags: u32,
        cancellation_id: &str,
    ) -> zbus::Result<(bool, bool, HashMap<String, String>)>;
}

/// The caller's uid, when it may do this.
///
/// # Errors
/// NotAuthorized.
pub async fn allow(
    connection: &Connection,
    header: &Header<'_>,
    action: Action,
    interactive: bool,
) -> Result<u32, BusError> {
    // Only root opens the private socket; there is no bus on it, and so no sender.
    let Some(sender) = header.sender().filter(|_| connection.unique_name().is_some()) else { return Ok(0) };
    let bus = fdo::DBusProxy::new(connection).await?;
    let uid = bus
        .get_connection_unix_user(BusName::from(sender.clone()))
        .await
        .map_err(|error| BusError::NotAuthorized(format!("the bus does not say who asks: {error}")))?;
    if uid == 0 {
        return Ok(0);
    }
    let authority = AuthorityProxy::new(connection).await?;
    let subject = ("system-bus-name", HashMap::from([("name", Variant::from(sender.as_str()))]));
    let flags = u32::from(interactive);
    match authority.check_authorization(&subject, action.id(), &HashMap::new(), flags, "").await {
        Ok((true, _, _)) => Ok(uid),
        Ok((false, challenge, _)) => {
            let hint = if challenge && !interactive { "; a password would be needed" } else { "" };
            Err(BusError::NotAuthorized(format!("polkit does not allow user {uid} {}{hint}", action.id())))
        }
        Err(error) => {
            tracing::debug!("no answer from polkit: {error}");
            Err(BusError::NotAuthorized(format!(
                "only root may change drivers here (no polkit runs): user {uid} asked for {}",
                action.id()
            )))
        }
    }
}
