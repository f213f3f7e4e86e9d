//! The actions that change one package on some kernels: add, build, install, uninstall, unbuild, remove.

use dkms_core::engine::{Done, Engine, Order, autoinstall};
use dkms_core::error::Error;
use dkms_core::host::kernels;
use dkms_core::model::{KernelId, KernelRelease, PackageId};
use dkms_core::tree::{self, SourceState, TreePackage};

use super::archives;
use super::args::Args;
use super::failure::Failure;
use super::machine::Machine;
use super::terminal::{Terminal, shown};

type Outcome = Result<(), Failure>;

/// Takes a source into the tree; what is there already is an error (3).
pub(crate) fn add(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Outcome {
    if let (Some(archive), None) = (&args.archive, &args.folder) {
        return archives::take_in(machine, args, archive, terminal).map(|_| ());
    }
    let (package, done) = match &args.folder {
        Some(folder) => {
            terminal.subject(folder.display().to_string());
            machine.engine.add_folder(folder, &machine.order, terminal)?
        }
        None => {
            let package = machine.package(args)?;
            has_source(machine, args, &package)?;
            if args.rpm_safe_upgrade {
                machine.engine.mark_rpm_upgrade(&package)?;
            }
            terminal.subject(package.to_string());
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

/// A folder that was named, and was taken as NAME/VERSION because it has no dkms.conf, is told of where there is no such
/// package either.
fn has_source(machine: &Machine, args: &Args, package: &PackageId) -> Outcome {
    let Some(folder) = &args.bare_folder else { return Ok(()) };
    let layout = machine.engine.layout();
    let source = layout.source(package);
    if source.is_dir() || tree::package(layout, package)?.is_some() {
        return Ok(());
    }
    Err(Failure::new(
        2,
        format!(
            "the folder {} is there, and has no dkms.conf; as a package, {package} has no source at {}",
            folder.display(),
            source.display()
        ),
    ))
}

/// The package of build and install, which take add's arguments.
fn added(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Result<PackageId, Failure> {
    if args.name.is_some() && args.version.is_some() {
        let package = machine.package(args)?;
        has_source(machine, args, &package)?;
        return Ok(package);
    }
    if let (Some(archive), None) = (&args.archive, &args.folder) {
        let loaded = archives::take_in(machine, args, archive, terminal)?;
        return loaded
            .ok_or_else(|| Failure::new(1, "which package of those that rpm has brought? name it as NAME/VERSION"));
    }
    if args.folder.is_some() {
        add(machine, args, terminal)?;
    }
    machine.package(args)
}

pub(crate) fn build(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Outcome {
    let package = added(machine, args, terminal)?;
    each(&machine.kernels(args)?, terminal, |kernel, terminal| {
        terminal.subject(format!("{package}, {}", shown(kernel)));
        let built = machine.engine.build(&package, kernel, &machine.order, terminal);
        let done = built.map_err(|error| of_package(&package, error))?;
        say(&done, &format!("{package}: built for {}", shown(kernel)), terminal);
        Ok(())
    })
}

pub(crate) fn install(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Outcome {
    let package = added(machine, args, terminal)?;
    machine.recover(terminal)?;
    let mut changed = Vec::new();
    let outcome = each(&machine.kernels(args)?, terminal, |kernel, terminal| {
        terminal.subject(format!("{package}, {}", shown(kernel)));
        if install_on(&machine.engine, &machine.order, &package, kernel, terminal)? {
            changed.push(kernel.release.clone());
        }
        Ok(())
    });
    conclude(&machine.engine, &changed, terminal);
    outcome
}

/// Installs on one kernel, builds anew what was built against another version of it, and makes all of that final. Tells
/// whether anything was changed, so that post_transaction is due.
pub(crate) fn install_on(
    engine: &Engine,
    order: &Order,
    package: &PackageId,
    kernel: &KernelId,
    terminal: &mut Terminal,
) -> Result<bool, Failure> {
    let done = engine.install(package, kernel, order, terminal).map_err(|error| of_package(package, error))?;
    let mut reports = Vec::new();
    if done == Done::Placed {
        let mut batch = vec![package.clone()];
        let rebuilt = engine.rebuild_dependents(&mut batch, kernel, order, &mut reports, terminal);
        engine.settle_kernel(kernel, &batch, order.depmod, terminal)?;
        rebuilt?;
    }
    say(&done, &format!("{package}: installed for {}", shown(kernel)), terminal);
    for report in reports.iter().filter(|report| report.outcome == autoinstall::Outcome::Installed) {
        terminal.line(&format!("{}: installed for {}", report.package, shown(kernel)));
    }
    Ok(done == Done::Placed)
}

pub(crate) fn uninstall(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Outcome {
    take_away(machine, args, "uninstalled", terminal, |package, kernel, terminal| {
        machine.engine.uninstall(package, kernel, &machine.order, terminal)
    })
}

pub(crate) fn unbuild(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Outcome {
    take_away(machine, args, "unbuilt", terminal, |package, kernel, terminal| {
        machine.engine.unbuild(package, kernel, &machine.order, terminal)
    })
}

fn take_away(
    machine: &Machine,
    args: &Args,
    word: &str,
    terminal: &mut Terminal,
    one: impl Fn(&PackageId, &KernelId, &mut Terminal) -> Result<Done, Error>,
) -> Outcome {
    let package = machine.package(args)?;
    let (_, kernels) = there(machine, args, &package)?;
    recover_as_root(machine, terminal)?;
    if kernels.is_empty() {
        terminal.line(&format!("{package} is built for no kernel"));
    }
    let mut changed = Vec::new();
    let outcome = each(&kernels, terminal, |kernel, terminal| {
        terminal.subject(format!("{package}, {}", shown(kernel)));
        let done = one(&package, kernel, terminal)?;
        if done == Done::Placed {
            machine.engine.settle_kernel(kernel, std::slice::from_ref(&package), machine.order.depmod, terminal)?;
        }
        if !matches!(done, Done::Unchanged(_)) {
            changed.push(kernel.release.clone());
        }
        say(&done, &format!("{package}: {word} for {}", shown(kernel)), terminal);
        Ok(())
    });
    conclude(&machine.engine, &changed, terminal);
    outcome
}

/// Unbuilds on the named kernels; a package that is left on none is forgotten.
pub(crate) fn remove(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Outcome {
    let package = machine.package(args)?;
    if args.rpm_safe_upgrade && machine.engine.stopped_by_rpm_upgrade(&package)? {
        terminal.line(&format!("{package} stays: the same rpm transaction has just added it"));
        return Ok(());
    }
    let (found, kernels) = there(machine, args, &package)?;
    recover_as_root(machine, terminal)?;
    terminal.subject(package.to_string());
    // What is broken can be got rid of as a whole, since nothing else can be done with it.
    let removed = match &found.source {
        SourceState::Broken(source) if args.all || found.entries.is_empty() => {
            terminal.warning(&format!(
                "{package} is broken: its source {} is missing or not linked; its own scripts cannot run",
                source.display()
            ));
            // It settles what it does, as for the daemon.
            machine.engine.remove(&package, &machine.order, terminal)?;
            for entry in &found.entries {
                terminal.line(&format!("{package}: unbuilt for {}", shown(&entry.kernel)));
            }
            terminal.line(&format!("{package}: removed"));
            return Ok(());
        }
        _ => machine.engine.remove_from(&package, &kernels, &machine.order, terminal)?,
    };
    let settled = machine.engine.settle_kernels(&removed.placed, &package, machine.order.depmod, terminal);
    for kernel in &removed.unbuilt {
        terminal.line(&format!("{package}: unbuilt for {}", shown(kernel)));
    }
    if removed.forgotten {
        terminal.line(&format!("{package}: removed; its source is still there"));
    }
    let mut changed: Vec<_> =
        removed.placed.iter().chain(&removed.unbuilt).map(|kernel| kernel.release.clone()).collect();
    changed.sort();
    changed.dedup();
    if changed.is_empty() && removed.forgotten {
        changed.extend(kernels.first().map(|kernel| kernel.release.clone()));
    }
    conclude(&machine.engine, &changed, terminal);
    let mut failures: Vec<Failure> = removed.failed.into_iter().map(Failure::from).collect();
    failures.extend(settled.err().map(Failure::from));
    first_of(failures, terminal)
}

/// Makes the key that modules are signed with, when it is not there.
pub(crate) fn generate_mok(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Outcome {
    let kernels = if args.kernels.is_empty() && !machine.engine.keys_are_per_kernel() {
        vec![kernels::running()?]
    } else {
        machine.kernels(args)?.into_iter().map(|kernel| kernel.release).collect()
    };
    for kernel in kernels {
        let keys = machine.engine.make_keys(&kernel)?;
        let verb = if keys.made { "made" } else { "there already" };
        terminal.line(&format!("{verb}: key {}, certificate {}", keys.key.display(), keys.certificate.display()));
        if keys.made {
            terminal.line(&format!(
                "to let a machine with Secure Boot take what it signs: dkmsctl mok enroll (or mokutil --import {})",
                keys.certificate.display()
            ));
        }
    }
    Ok(())
}

/// Names the package where the error is about the kernel or a file alone.
fn of_package(package: &PackageId, error: Error) -> Failure {
    let failure = Failure::from(error);
    let message = if failure.message.contains(&package.to_string()) {
        failure.message
    } else {
        format!("{package}: {}", failure.message)
    };
    Failure { message, ..failure }
}

/// The package and the kernels of an action that takes away: those named, or with `--all` every one that something is
/// built for. The package has to be in the tree.
fn there(machine: &Machine, args: &Args, package: &PackageId) -> Result<(TreePackage, Vec<KernelId>), Failure> {
    let layout = machine.engine.layout();
    let found = tree::package(layout, package)?.ok_or_else(|| Error::NotAdded { package: package.clone() })?;
    let all = || found.entries.iter().map(|entry| entry.kernel.clone()).collect();
    let kernels = if args.all { all() } else { machine.kernels(args)? };
    Ok((found, kernels))
}

fn say(done: &Done, otherwise: &str, terminal: &mut Terminal) {
    match done {
        Done::Unchanged(why) => terminal.line(why),
        _ => terminal.line(otherwise),
    }
}

/// What is left half done is root's to put in order; who may only change the tree goes on without.
fn recover_as_root(machine: &Machine, terminal: &mut Terminal) -> Outcome {
    if rustix::process::geteuid().is_root() { machine.recover(terminal) } else { Ok(()) }
}

/// post_transaction, once for all kernels that were changed.
pub(crate) fn conclude(engine: &Engine, changed: &[KernelRelease], terminal: &mut Terminal) {
    if !changed.is_empty() {
        engine.post_transaction(changed, terminal);
    }
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

/// Tells all of them; the first one's code is the program's.
fn first_of(failures: Vec<Failure>, terminal: &mut Terminal) -> Outcome {
    failures.iter().for_each(|failure| terminal.failure(failure));
    failures.into_iter().next().map_or(Ok(()), |failure| Err(failure.silent()))
}
