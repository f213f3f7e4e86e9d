//! `dkmsctl mok`: the key that modules are signed with. It is looked at and made here, without the daemon: it is a matter
//! between root and the firmware.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::process::Command;

use dkms_core::engine::{Engine, Mok};
use dkms_core::error::Error;
use dkms_core::host::kernels;
use dkms_core::host::secure_boot::Trust;
use dkms_core::model::KernelRelease;
use dkms_core::settings::Settings;
use tempfile::NamedTempFile;

use crate::cli::{Cli, MokAction, MokArgs};
use crate::failure::{Exit, Failure};
use crate::out::Out;
use crate::render::{json, mok as text};

pub(super) fn mok(cli: &Cli, args: &MokArgs) -> Result<Exit, Failure> {
    let failed = |error: Error| Failure::Failed(error.to_string());
    let settings = Settings::load(&cli.root).map_err(failed)?;
    let engine = Engine::new(settings, None).map_err(failed)?;
    let kernel = kernels::running().map_err(failed)?;
    let mut out = Out::new();
    match args.action {
        MokAction::Status => {}
        MokAction::Generate => generate(&engine, &kernel, &mut out)?,
        MokAction::Enroll => enroll(cli, &engine, &kernel)?,
    }
    let mok = engine.mok(&kernel).map_err(failed)?;
    let look = out.look();
    out.print(&if args.json { json::mok(&mok) } else { text::mok(&mok, look) })?;
    Ok(Exit::Done)
}

fn needs_root(what: &str) -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::Refused { why: format!("{what} is root's to do: sudo dkmsctl mok {what}") })
}

fn generate(engine: &Engine, kernel: &KernelRelease, out: &mut Out) -> Result<(), Failure> {
    needs_root("generate")?;
    let keys = engine.make_keys(kernel).map_err(|error| Failure::Failed(error.to_string()))?;
    let verb = if keys.made { "made" } else { "there already" };
    Ok(out.line(&format!("{verb}: {}, {}", keys.key.display(), keys.certificate.display()))?)
}

/// Has mokutil hand the certificate to shim; it asks for a password, for which the next boot asks again.
fn enroll(cli: &Cli, engine: &Engine, kernel: &KernelRelease) -> Result<(), Failure> {
    if cli.root != Path::new("/") {
        return Err(Failure::Usage("a certificate is enrolled on the machine that runs, without --root".into()));
    }
    let mok = engine.mok(kernel).map_err(|error| Failure::Failed(error.to_string()))?;
    if let Some(why) = cannot(&mok) {
        return Err(Failure::Failed(why));
    }
    if mok.certificate.as_ref().is_some_and(|certificate| mok.boot.trust(certificate) != Trust::None) {
        return Ok(());
    }
    needs_root("enroll")?;
    let file = mok.certificate_file.display();
    let der =
        in_der(&mok).map_err(|error| Failure::Failed(format!("cannot write {file} in DER for mokutil: {error}")))?;
    match Command::new("mokutil")
        .arg("--import")
        .arg(der.as_ref().map_or(&*mok.certificate_file, |der| der.path()))
        .status()
    {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::Failed(format!("mokutil --import {file} ended with {status}; try it again"))),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Failure::Failed(
            "mokutil is not installed; install the package mokutil, then: dkmsctl mok enroll".into(),
        )),
        Err(error) => Err(Failure::Failed(format!("cannot run mokutil: {error}"))),
    }
}

/// The certificate in the one form that mokutil takes; none where its own file has it.
fn in_der(mok: &Mok) -> io::Result<Option<NamedTempFile>> {
    let Some(certificate) = &mok.certificate else { return Ok(None) };
    if fs::read(&mok.certificate_file)? == certificate.der {
        return Ok(None);
    }
    let mut file = tempfile::Builder::new().prefix("mok-").suffix(".der").tempfile()?;
    file.write_all(&certificate.der)?;
    Ok(Some(file))
}

/// Why there is nothing that could be enrolled, or nowhere.
fn cannot(mok: &Mok) -> Option<String> {
    if mok.certificate.is_none() && mok.certificate_exists {
        return Some(format!(
            "{} is no certificate in DER or PEM; see: dkmsctl mok status",
            mok.certificate_file.display()
        ));
    }
    if mok.certificate.is_none() {
        return Some(format!(
            "there is no certificate {} yet; make one: dkmsctl mok generate",
            mok.certificate_file.display()
        ));
    }
    mok.boot.enabled.is_none().then(|| {
        "this machine was not started with UEFI, so there is nowhere to enroll it; see: dkmsctl mok status".into()
    })
}
