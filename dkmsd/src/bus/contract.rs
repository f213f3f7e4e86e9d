//! Holds what the daemon really serves against `dbus/org.dkmsd1.xml`: names, arguments, directions, types, access.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use dkms_core::bus::names::{MANAGER_PATH, job_path};
use dkms_core::event::Phase;
use dkms_core::layout::Layout;
use dkms_core::settings::Settings;
use tokio::sync::{mpsc, watch};
use zbus::connection::Builder;
use zbus::{Guid, fdo};
use zbus_xml::{ArgDirection, Interface, Node};

use super::Context;
use super::job::JobObject;
use super::manager::Manager;
use crate::queue::coordinator::Coordinator;
use crate::queue::workers::Workers;
use crate::snapshot::JobView;

/// Everything a client relies on, one line each.
fn lines(interface: &Interface<'_>) -> Vec<String> {
    let name = interface.name();
    let mut lines = Vec::new();
    for method in interface.methods() {
        let args = method.args().iter().map(|arg| {
            let out = arg.direction() == Some(ArgDirection::Out);
            format!("{}{}:{}", if out { "->" } else { "" }, arg.name().unwrap_or("?"), arg.ty())
        });
        lines.push(format!("{name} method {} {}", method.name(), args.collect::<Vec<_>>().join(" ")));
    }
    for signal in interface.signals() {
        let args = signal.args().iter().map(|arg| format!("{}:{}", arg.name().unwrap_or("?"), arg.ty()));
        lines.push(format!("{name} signal {} {}", signal.name(), args.collect::<Vec<_>>().join(" ")));
    }
    for property in interface.properties() {
        let constant = property
            .annotations()
            .iter()
            .any(|a| a.name() == "org.freedesktop.DBus.Property.EmitsChangedSignal" && a.value() == "const");
        let access = property.access();
        lines.push(format!("{name} property {} {} {access:?} const={constant}", property.name(), property.ty()));
    }
    lines
}

fn ours(node: &Node<'_>) -> Vec<String> {
    let mut lines: Vec<String> =
        node.interfaces().iter().filter(|i| i.name().starts_with("org.dkmsd1")).flat_map(lines).collect();
    lines.sort();
    lines
}

fn context() -> Context {
    let (ask, _) = mpsc::channel(1);
    let layout = Layout::under("/nonexistent");
    let (_, shared, _) = Coordinator::new(1, None, &layout, ask.clone(), |to| {
        Workers::new("false".into(), Vec::new(), Arc::new(Settings::defaults(Path::new("/nonexistent"))), to)
    });
    let (_, watching) = watch::channel(Vec::new());
    let (reload, _) = mpsc::channel(1);
    Context { shared, ask, watching, reload, running: "6.1.0".into(), layout: Layout::default() }
}

fn job() -> JobView {
    JobView {
        id: 7,
        operation: "install",
        package: "a".into(),
        version: "1".into(),
        kernel: "6.1.0".into(),
        arch: "x86_64".into(),
        uid: 0,
        reason: "test".into(),
        state: "running",
        phase: Phase::Building,
        progress: None,
        cancelable: true,
        log: None,
    }
}

#[tokio::test]
async fn the_daemon_serves_what_the_contract_says() {
    let (ours_end, theirs_end) = UnixStream::pair().unwrap();
    let context = context();
    let server = Builder::unix_stream(ours_end)
        .server(Guid::generate())
        .p2p()
        .serve_at(MANAGER_PATH, Manager::new(context.clone()))
        .serve_at(job_path(7), JobObject::new(job(), context))
        .build();
    let client = Builder::unix_stream(theirs_end).p2p().build();
    let (server, client) = tokio::join!(server, client);
    let (_server, client) = (server.unwrap(), Arc::new(client.unwrap()));

    let mut live = Vec::new();
    for path in [MANAGER_PATH.to_owned(), job_path(7).to_string()] {
        let proxy = fdo::IntrospectableProxy::builder(&client)
            .destination("org.dkmsd1")
            .path(path)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
            .unwrap();
        let xml = proxy.introspect().await.unwrap();
        live.extend(ours(&Node::from_reader(xml.as_bytes()).unwrap()));
    }
    live.sort();
    let written = Node::from_reader(include_bytes!("../../dbus/org.dkmsd1.xml").as_slice()).unwrap();
    assert_eq!(live, ours(&written));
}
