//! Holds the proxies against `dkmsd/dbus/org.dkmsd1.xml`: a peer that knows nothing but the XML checks the arguments of
//! every call, answers with a value of the signature written there, and sends every signal written there.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::net::UnixStream;

use futures_util::StreamExt;
use zbus::connection::Builder;
use zbus::message::Type as MessageType;
use zbus::proxy::CacheProperties;
use zbus::wire::{Fd, StructureBuilder};
use zbus::{Array, Connection, Dict, Guid, Message, MessageStream, ObjectPath, Signature, Structure, Variant};
use zbus_xml::{ArgDirection, Node};

use super::names::{JOB_INTERFACE, MANAGER_INTERFACE, MANAGER_PATH, job_path};
use super::types::{Options, StatusFilter};
use super::{JobProxy, ManagerProxy};

fn contract() -> Node<'static> {
    Node::from_reader(include_bytes!("../../../dkmsd/dbus/org.dkmsd1.xml").as_slice()).unwrap()
}

/// A value of any signature the contract uses, with one element in every array.
fn sample(signature: &Signature) -> Variant<'static> {
    match signature {
        Signature::Bool => Variant::from(true),
        Signature::U32 => Variant::from(7_u32),
        Signature::F64 => Variant::from(0.5_f64),
        Signature::Str => Variant::from("word"),
        Signature::ObjectPath => Variant::from(ObjectPath::from_static_str_unchecked("/org/dkmsd1/job/_7")),
        Signature::Variant => Variant::Variant(Box::new(Variant::from("unknown"))),
        Signature::Fd => Variant::from(Fd::from(std::os::fd::OwnedFd::from(File::open("/dev/null").unwrap()))),
        Signature::Array(element) => {
            let mut array = Array::new(element.signature());
            array.append(sample(element.signature())).unwrap();
            array.into()
        }
        Signature::Dict { key, value } => {
            let mut dict = Dict::new(key.signature(), value.signature());
            dict.append(sample(key.signature()), sample(value.signature())).unwrap();
            dict.into()
        }
        Signature::Structure(fields) => {
            fields.iter().fold(StructureBuilder::new(), |b, f| b.append_field(sample(f))).build().unwrap().into()
        }
        other => panic!("the contract uses {other}"),
    }
}

fn body<'s>(signatures: impl Iterator<Item = &'s Signature>) -> Option<Structure<'static>> {
    let fields: Vec<_> = signatures.map(sample).collect();
    (!fields.is_empty())
        .then(|| fields.into_iter().fold(StructureBuilder::new(), StructureBuilder::append_field).build().unwrap())
}

fn joined<'s>(signatures: impl Iterator<Item = &'s Signature>) -> String {
    signatures.map(ToString::to_string).collect()
}

/// Answers one call as the XML says; gives what was called, as `interface.member`.
async fn answer(peer: &Connection, xml: &Node<'_>, call: &Message) -> String {
    let header = call.header();
    let member = header.member().unwrap().to_string();
    let interface = header.interface().unwrap().to_string();
    let find = |name: &str| xml.interfaces().iter().find(|i| i.name() == name);

    if interface == "org.freedesktop.DBus.Properties" {
        assert_eq!(member, "Get");
        let (interface, property): (String, String) = call.body().deserialize().unwrap();
        let Some(written) = find(&interface).and_then(|i| i.properties().find(|p| *p.name() == *property)) else {
            panic!("property {interface}.{property} is not in the XML")
        };
        peer.reply(&header, &(sample(written.ty()),)).await.unwrap();
        return format!("{interface}.{property}");
    }
    let Some(method) = find(&interface).and_then(|i| i.methods().find(|m| *m.name() == *member)) else {
        panic!("method {interface}.{member} is not in the XML")
    };
    let args = |direction| method.args().iter().filter(move |a| a.direction() == Some(direction)).map(|a| a.ty());
    assert_eq!(
        call.body().signature().to_string_no_parens(),
        joined(args(ArgDirection::In)),
        "arguments of {interface}.{member}"
    );
    match body(args(ArgDirection::Out)) {
        Some(body) => peer.reply(&header, &body).await.unwrap(),
        None => peer.reply(&header, &()).await.unwrap(),
    }
    format!("{interface}.{member}")
}

async fn pair() -> (Connection, Connection) {
    let (a, b) = UnixStream::pair().unwrap();
    let server = Builder::unix_stream(a).server(Guid::generate()).p2p().build();
    let client = Builder::unix_stream(b).p2p().build();
    let (server, client) = tokio::join!(server, client);
    (server.unwrap(), client.unwrap())
}

#[tokio::test]
async fn proxies_speak_the_contract() {
    let xml = contract();
    let written: BTreeSet<String> = xml
        .interfaces()
        .iter()
        .flat_map(|i| {
            let methods = i.methods().map(|m| m.name().to_string());
            let properties = i.properties().map(|p| p.name().to_string());
            methods.chain(properties).map(|member| format!("{}.{member}", i.name())).collect::<Vec<_>>()
        })
        .collect();

    let (peer, client) = pair().await;
    let mut calls = MessageStream::from(&peer);
    let serving = tokio::spawn(async move {
        let mut called = BTreeSet::new();
        while let Some(Ok(message)) = calls.next().await {
            if message.message_type() == MessageType::MethodCall {
                called.insert(answer(&peer, &xml, &message).await);
            }
        }
        called
    });

    let m = ManagerProxy::builder(&client).cache_properties(CacheProperties::No).build().await.unwrap();
    let o = &Options::default();
    assert_eq!(m.add("/usr/src/x", o).await.unwrap(), ("word".into(), "word".into()));
    assert_eq!(m.remove("p", "v", o).await.unwrap(), [job_path(7)]);
    for made in [
        m.build("p", "v", "k", "a", o).await,
        m.install("p", "v", "k", "a", o).await,
        m.uninstall("p", "v", "k", "a", o).await,
        m.unbuild("p", "v", "k", "a", o).await,
    ] {
        assert_eq!(made.unwrap(), (7, job_path(7)));
    }
    assert_eq!(m.rebuild("p", "v", "k", o).await.unwrap(), [job_path(7)]);
    assert_eq!(m.autoinstall("k", o).await.unwrap(), [job_path(7)]);
    let (ready, problems) = m.check_kernel("k").await.unwrap();
    assert!(ready);
    assert_eq!(problems[0].reason, "word");
    m.kernel_added("k").await.unwrap();
    m.kernel_removed("k").await.unwrap();
    m.rescan().await.unwrap();
    m.reload().await.unwrap();
    assert_eq!(m.list_status(&StatusFilter::default()).await.unwrap().len(), 1);
    assert_eq!(m.list_kernels().await.unwrap().len(), 1);
    assert_eq!(m.list_jobs().await.unwrap()[0].object, job_path(7));
    assert_eq!(m.list_history(9).await.unwrap().len(), 1);
    assert_eq!(m.get_job(7).await.unwrap(), job_path(7));
    m.cancel_job(7).await.unwrap();
    m.version().await.unwrap();
    m.running_kernel().await.unwrap();
    m.secure_boot().await.unwrap();
    m.lockdown().await.unwrap();
    m.n_jobs().await.unwrap();
    m.max_jobs().await.unwrap();
    m.state().await.unwrap();
    m.unconfined().await.unwrap();
    assert_eq!(m.watching().await.unwrap(), ["word"]);

    let j = JobProxy::builder(&client).path(job_path(7)).cache_properties(CacheProperties::No).build().await.unwrap();
    j.cancel(o).await.unwrap();
    j.open_log().await.unwrap();
    j.id().await.unwrap();
    j.operation().await.unwrap();
    j.package().await.unwrap();
    j.package_version().await.unwrap();
    j.kernel().await.unwrap();
    j.arch().await.unwrap();
    j.started_by_uid().await.unwrap();
    j.reason().await.unwrap();
    j.state().await.unwrap();
    j.phase().await.unwrap();
    j.progress().await.unwrap();
    j.progress_valid().await.unwrap();
    j.cancelable().await.unwrap();

    client.close().await.unwrap();
    assert_eq!(serving.await.unwrap(), written);
}

#[tokio::test]
async fn signals_speak_the_contract() {
    let xml = contract();
    let (peer, client) = pair().await;
    let mut calls = MessageStream::from(&peer);
    let nameless = peer.clone();
    tokio::spawn(async move {
        while let Some(Ok(call)) = calls.next().await {
            let error = zbus::fdo::Error::UnknownMethod("a peer without names".into());
            nameless.reply_dbus_error(&call.header(), error).await.unwrap();
        }
    });
    let m = ManagerProxy::builder(&client).cache_properties(CacheProperties::No).build().await.unwrap();
    let mut new = m.receive_job_new().await.unwrap();
    let mut removed = m.receive_job_removed().await.unwrap();
    let mut changed = m.receive_status_changed().await.unwrap();
    let mut failed = m.receive_build_failed().await.unwrap();

    let mut sent = Vec::new();
    for interface in xml.interfaces() {
        for signal in interface.signals() {
            let body = body(signal.args().iter().map(|a| a.ty())).unwrap();
            peer.emit_signal(None::<&str>, MANAGER_PATH, interface.name(), signal.name(), &body).await.unwrap();
            sent.push(format!("{}.{}", interface.name(), signal.name()));
        }
    }
    assert_eq!(new.next().await.unwrap().args().unwrap().kernel, "word");
    assert_eq!(removed.next().await.unwrap().args().unwrap().result, "word");
    assert_eq!(changed.next().await.unwrap().args().unwrap().new, "word");
    assert_eq!(failed.next().await.unwrap().args().unwrap().error, "word");
    assert_eq!(sent.len(), 4, "a signal without a proxy: {sent:?}");
}

#[test]
fn the_names_are_the_contracts() {
    let xml = contract();
    let names: Vec<_> = xml.interfaces().iter().map(|i| i.name().to_string()).collect();
    assert_eq!(names, [MANAGER_INTERFACE, JOB_INTERFACE]);
}
