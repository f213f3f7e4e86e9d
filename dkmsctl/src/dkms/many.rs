//! The actions that look after every package on one kernel: autoinstall, match, and what a kernel's own package calls.

use dkms_core::engine::Cleared;
use dkms_core::engine::autoinstall::{Outcome, Report};
use dkms_core::model::{KernelId, PackageName};

use super::args::Args;
use super::failure::Failure;
use super::machine::Machine;
use super::terminal::{Terminal, shown};

pub(crate) fn autoinstall(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Result<(), Failure> {
    let kernel = one(machine, args)?;
    terminal.subject(shown(&kernel));
    let report = machine.engine.autoinstall(&kernel, &machine.order, terminal)?;
    tell(&report, terminal);
    ended(&report, report.exit_code())
}

pub(crate) fn kernel_postinst(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Result<(), Failure> {
    let kernel = one(machine, args)?;
    terminal.subject(shown(&kernel));
    let report = machine.engine.kernel_postinst(&kernel, &machine.order, terminal)?;
    tell(&report, terminal);
    ended(&report, report.exit_code())
}

pub(crate) fn matching(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Result<(), Failure> {
    let Some(release) = args.template_kernel.clone() else {
        return Err(Failure::new(1, "match needs the kernel to be matched: --templatekernel KERNEL"));
    };
    let kernel = one(machine, args)?;
    let template = KernelId { release, arch: kernel.arch.clone() };
    let only = args.name.as_deref().map(PackageName::new).transpose()?;
    terminal.subject(shown(&kernel));
    let report = machine.engine.install_matching(&template, &kernel, only.as_ref(), &machine.order, terminal)?;
    tell(&report, terminal);
    ended(&report, report.first_code())
}

pub(crate) fn kernel_preinst(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Result<(), Failure> {
    let kernel = one(machine, args)?;
    terminal.subject(shown(&kernel));
    let cleared = machine.engine.kernel_preinst(&kernel, &machine.order, terminal)?;
    cleared_off(&cleared, terminal)
}

pub(crate) fn kernel_prerm(machine: &Machine, args: &Args, terminal: &mut Terminal) -> Result<(), Failure> {
    let kernel = one(machine, args)?;
    terminal.subject(shown(&kernel));
    let cleared = machine.engine.kernel_prerm(&kernel, &machine.order, terminal)?;
    cleared_off(&cleared, terminal)
}

fn one(machine: &Machine, args: &Args) -> Result<KernelId, Failure> {
    machine.kernels(args)?.into_iter().next().ok_or_else(|| Failure::new(4, "which kernel? name it with -k"))
}

fn tell(report: &Report, terminal: &mut Terminal) {
    let kernel = shown(&report.kernel);
    if let Some(file) = &report.turned_off {
        terminal.line(&format!("{kernel}: nothing is installed: {} turns autoinstall off", file.display()));
        return;
    }
    for package in report.packages.iter().filter(|p| p.outcome == Outcome::Installed) {
        terminal.line(&format!("{}: installed for {kernel}", package.package));
    }
    if report.nothing_to_do() {
        terminal.line(&format!("{kernel}: nothing to do"));
    }
}

/// The failures have been told as they came.
fn ended(report: &Report, code: i32) -> Result<(), Failure> {
    if code == 0 {
        return Ok(());
    }
    let failed: Vec<String> = report.failed().map(|(package, _)| package.to_string()).collect();
    let message = format!("{}: not installed: {}; the reasons stand above", report.kernel.release, failed.join(", "));
    Err(Failure::new(u8::try_from(code).unwrap_or(1), message))
}

fn cleared_off(cleared: &Cleared, terminal: &mut Terminal) -> Result<(), Failure> {
    let kernel = shown(&cleared.kernel);
    for package in &cleared.packages {
        terminal.line(&format!("{package}: unbuilt for {kernel}"));
    }
    match cleared.exit_code() {
        0 => Ok(()),
        code => {
            let failed: Vec<String> = cleared.failed.iter().map(|(package, _)| package.to_string()).collect();
            let release = &cleared.kernel.release;
            let message = if failed.is_empty() {
                format!(
                    "{kernel}: modprobe does not know yet what was taken off; mend what stands above, then: depmod {release}"
                )
            } else {
                format!("{kernel}: still built for it: {}; the reasons stand above", failed.join(", "))
            };
            Err(Failure::new(u8::try_from(code).unwrap_or(1), message))
        }
    }
}
