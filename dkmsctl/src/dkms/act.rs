//! The actions that change one package on some kernels: add, build, install, uninstall, unbuild, remove.

use dkms_core::engine::Done;
use dkms_core::error::Error;
use dkms_core::model::{KernelId, PackageId};
use dkms_core::tree::{self, SourceState};

use super::args::Args;
use super::failure::Failure;
use super::machine::Machine;
use super::terminal::{Terminal, shown};

type Outcome = Result<(), Failure>;

/// Takes a source into the tree; what is there already is an error (3).
pub(crate) fn add(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Outcome {
    let (package, done) = match &args.folder {
        Some(folder) => {
            terminal.about(folder.display().to_string());
            machine.engine.add_folder(folder, &machine.order, terminal)?
        }
        None => {
            let package = machine.package(args)?;
            terminal.about(package.to_string());
            let done = machine.engine.add(&package, &machine.order, terminal)?;
            (package, done)
        }
    };
    match done {
        Done::Unchanged(_) => Err(Error::AlreadyAdded { package }.into()),
        _ => {
            terminal.line(&format!("{package}: added"));
            Ok(())
        }
    }
}

/// The package of build and install, which take add's arguments.
fn added(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Result<PackageId, Failure> {
    let named = args.name.is_some() && args.version.is_some();
    if !named && args.folder.is_some() {
        add(machine, args, terminal)?;
    }
    machine.package(args)
}

pub(crate) fn build(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Outcome {
    let package = added(machine, args, terminal)?;
    each(&machine.kernels(args)?, terminal, |kernel, terminal| {
        terminal.about(format!("{package}, {}", shown(kernel)));
        match machine.engine.build(&package, kernel, &machine.order, terminal)? {
            Done::Unchanged(why) => terminal.line(&why),
            _ => terminal.line(&format!("{package}: built for {}", shown(kernel))),
        }
        Ok(())
    })
}

pub(crate) fn install(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Outcome {
    let package = added(machine, args, terminal)?;
    machine.recover(terminal)?;
    each(&machine.kernels(args)?, terminal, |kernel, terminal| {
        terminal.about(format!("{package}, {}", shown(kernel)));
        match machine.engine.install(&package, kernel, &machine.order, terminal)? {
            Done::Unchanged(why) => terminal.line(&why),
            done => {
                finish(machine, args, &package, kernel, &done, terminal)?;
                terminal.line(&format!("{package}: installed for {}", shown(kernel)));
            }
        }
        Ok(())
    })
}

pub(crate) fn uninstall(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Outcome {
    let package = machine.package(args)?;
    let kernels = there(machine, args, &package)?;
    machine.recover(terminal)?;
    each(&kernels, terminal, |kernel, terminal| {
        terminal.about(format!("{package}, {}", shown(kernel)));
        let done = machine.engine.uninstall(&package, kernel, &machine.order, terminal)?;
        finish(machine, args, &package, kernel, &done, terminal)?;
        say(&done, &format!("{package}: uninstalled for {}", shown(kernel)), terminal);
        Ok(())
    })
}

pub(crate) fn unbuild(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Outcome {
    let package = machine.package(args)?;
    let kernels = there(machine, args, &package)?;
    unbuild_from(machine, args, &package, &kernels, terminal)
}

fn unbuild_from(
    machine: &Machine,
    args: &Args,
    package: &PackageId,
    kernels: &[KernelId],
    terminal: &mut Terminal,
) -> Outcome {
    each(kernels, terminal, |kernel, terminal| {
        terminal.about(format!("{package}, {}", shown(kernel)));
        let done = machine.engine.unbuild(package, kernel, &machine.order, terminal)?;
        finish(machine, args, package, kernel, &done, terminal)?;
        say(&done, &format!("{package}: unbuilt for {}", shown(kernel)), terminal);
        Ok(())
    })
}

/// Unbuilds on the named kernels; a package that is left on none is forgotten.
pub(crate) fn remove(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Outcome {
    let package = machine.package(args)?;
    let kernels = there(machine, args, &package)?;
    unbuild_from(machine, args, &package, &kernels, terminal)?;
    let left = tree::package(machine.engine.layout(), &package)?.is_some_and(|p| !p.entries.is_empty());
    if left {
        return Ok(());
    }
    terminal.about(package.to_string());
    machine.engine.remove(&package, &machine.order, terminal)?;
    terminal.line(&format!("{package}: removed; its source is still there"));
    Ok(())
}

/// Makes the key that modules are signed with, when it is not there.
pub(crate) fn generate_mok(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Outcome {
    for kernel in machine.kernels(args)? {
        let keys = machine.engine.make_keys(&kernel.release)?;
        let verb = if keys.made { "made" } else { "there already" };
        terminal.line(&format!("{verb}: key {}, certificate {}", keys.key.display(), keys.certificate.display()));
        if keys.made {
            terminal.line(&format!(
                "to let a machine with Secure Boot take what it signs: mokutil --import {}",
                keys.certificate.display()
            ));
        }
    }
    Ok(())
}

/// The kernels of an action that takes away: those named, or with `--all` every one that something is built for. The
/// package has to be in the tree, and whole.
fn there(machine: &Machine, args: &Args, package: &PackageId) -> Result<Vec<KernelId>, Failure> {
    let layout = machine.engine.layout();
    let found = tree::package(layout, package)?.ok_or_else(|| Error::NotAdded { package: package.clone() })?;
    if let SourceState::Broken(path) = found.source {
        return Err(Error::Broken { package: package.clone(), path }.into());
    }
    if args.all { Ok(found.entries.into_iter().map(|entry| entry.kernel).collect()) } else { machine.kernels(args) }
}

fn say(done: &Done, otherwise: &str, terminal: &mut Terminal) {
    match done {
        Done::Unchanged(why) => terminal.line(why),
        _ => terminal.line(otherwise),
    }
}

/// depmod and what follows it, where modules were placed or taken away.
fn finish(
    machine: &Machine,
    args: &Args,
    package: &PackageId,
    kernel: &KernelId,
    done: &Done,
    terminal: &mut Terminal,
) -> Outcome {
    if *done == Done::Placed && !args.no_depmod {
        machine.engine.finish_kernel(kernel, std::slice::from_ref(package), terminal)?;
    }
    Ok(())
}

/// One kernel after the other, each tried; the first failure's code is the program's (dkms-contract.md §7).
fn each(
    kernels: &[KernelId],
    terminal: &mut Terminal,
    mut one: impl FnMut(&KernelId, &mut Terminal) -> Outcome,
) -> Outcome {
    let mut first = None;
    for kernel in kernels {
        if let Err(failure) = one(kernel, terminal) {
            terminal.failure(&failure);
            first.get_or_insert(failure.silent());
        }
    }
    first.map_or(Ok(()), Err)
}
