//! `dkmsctl monitor`.

use jiff::Zoned;

use super::Context;
use crate::failure::{Exit, Failure};
use crate::render::{subject, tame};
use crate::signals::{self, Signal};

pub(super) async fn monitor(cx: &mut Context) -> Result<Exit, Failure> {
    let mut interrupts = signals::interrupts()?;
    let mut heard = signals::listen(&cx.link).await?;
    let state = cx.link.manager().state().await?;
    say(cx, &format!("dkmsd is {state}"))?;
    while !cx.out.is_closed() {
        let signal = tokio::select! {
            signal = heard.recv() => signal.unwrap_or(Signal::Gone),
            _ = interrupts.recv() => return Ok(Exit::Done),
        };
        if signal == Signal::Gone {
            return Err(Failure::Gone { after: "there is nothing left to follow".into() });
        }
        if let Some(text) = line(&signal) {
            say(cx, &text)?;
        }
    }
    Ok(Exit::Done)
}

fn say(cx: &mut Context, text: &str) -> Result<(), Failure> {
    Ok(cx.out.line(&format!("{}  {text}", Zoned::now().strftime("%H:%M:%S")))?)
}

/// What a signal says, in one line; progress is left out.
fn line(signal: &Signal) -> Option<String> {
    Some(tame(&match signal {
        Signal::JobNew { id, package, version, kernel } => {
            format!("job {id} queued: {}", subject(package, version, kernel))
        }
        Signal::JobRemoved { id, package, version, kernel, result } => {
            format!("job {id} {result}: {}", subject(package, version, kernel))
        }
        Signal::Status { package, version, kernel, old, new } => {
            let change = match (old.as_str(), new.as_str()) {
                ("", new) => new.to_owned(),
                (old, "") => format!("{old} → gone"),
                (old, new) => format!("{old} → {new}"),
            };
            format!("{}: {change}", subject(package, version, kernel))
        }
        Signal::BuildFailed { package, version, kernel, error } => {
            format!("{}: {error}", subject(package, version, kernel))
        }
        Signal::Job { id, changes } => format!("job {id}: {}", changes.phase.as_ref()?),
        Signal::State(state) => format!("dkmsd is {state}"),
        Signal::Gone => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::Changes;

    #[test]
    fn lines() {
        let (package, version, kernel) = ("r8169".to_owned(), "2.2LK".to_owned(), "6.1".to_owned());
        let status = |old: &str, new: &str| Signal::Status {
            package: package.clone(),
            version: version.clone(),
            kernel: kernel.clone(),
            old: old.into(),
            new: new.into(),
        };
        assert_eq!(line(&status("queued", "building")).unwrap(), "r8169/2.2LK on 6.1: queued → building");
        assert_eq!(line(&status("", "added")).unwrap(), "r8169/2.2LK on 6.1: added");
        assert_eq!(line(&status("installed", "")).unwrap(), "r8169/2.2LK on 6.1: installed → gone");
        let changes = Changes { progress: Some(0.5), ..Changes::default() };
        assert_eq!(line(&Signal::Job { id: 7, changes }), None);
    }
}
