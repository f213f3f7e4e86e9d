//! mktarball and ldtarball (dkms-contract.md §6).

use std::path::Path;

use dkms_core::distribute::Contents;
use dkms_core::engine::{Engine, KernelChoice, LoadedArchive, Order, PackTarball};
use dkms_core::model::PackageId;

use super::args::Args;
use super::failure::Failure;
use super::machine::Machine;
use super::many;
use super::terminal::{Terminal, shown};

/// Packs a package.
pub(crate) fn pack(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Result<(), Failure> {
    let package = machine.package(args)?;
    terminal.subject(package.to_string());
    let contents = Contents::from_flags(&package, args.source_only, args.binaries_only)?;
    let kernels = match contents {
        Contents::SourceOnly => KernelChoice::These(Vec::new()),
        _ if args.all => KernelChoice::All,
        _ => KernelChoice::These(machine.kernels(args)?),
    };
    let archive = args.archive.clone();
    let path = machine.engine.make_tarball(&PackTarball { package, kernels, contents, archive }, terminal)?;
    terminal.line(&format!("packed into {}", path.display()));
    Ok(())
}

/// Loads an archive.
pub(crate) fn load(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Result<(), Failure> {
    let Some(archive) = &args.archive else {
        return Err(Failure::new(
            2,
            match (&args.name, &args.version, &args.folder) {
                (Some(name), Some(version), _) => format!("there is no archive {name}/{version}; name a file"),
                (_, _, Some(folder)) => {
                    let folder = folder.display();
                    format!("{folder} is a folder and no archive; take it in with: dkms add {folder}")
                }
                _ => "which archive? write: dkms ldtarball FILE".to_owned(),
            },
        ));
    };
    take_in(machine, args, archive, terminal).map(|_| ())
}

/// Loads an archive, and says what came of it; gives the package, when it was one of ours.
pub(crate) fn take_in(
    machine: &Machine,
    args: &Args,
    archive: &Path,
    terminal: &mut Terminal,
) -> Result<Option<PackageId>, Failure> {
    match unpack(&machine.engine, &machine.order, archive, terminal)? {
        LoadedArchive::Package(loaded) => Ok(Some(loaded.package)),
        LoadedArchive::Rpm => {
            many::autoinstall(machine, args, terminal)?;
            Ok(None)
        }
    }
}

/// Loads an archive, and says what came of it. After an rpm, autoinstall is due.
pub(crate) fn unpack(
    engine: &Engine,
    order: &Order,
    archive: &Path,
    terminal: &mut Terminal,
) -> Result<LoadedArchive, Failure> {
    terminal.subject(archive.display().to_string());
    let found = engine.load_archive(archive, order, terminal)?;
    if let LoadedArchive::Package(loaded) = &found {
        terminal.line(&format!("{}: added from {}", loaded.package, archive.display()));
        for kernel in &loaded.built {
            terminal.line(&format!("{}: built for {}, as packed", loaded.package, shown(kernel)));
        }
    }
    Ok(found)
}
