//! What the worker is measured against: consume, POST, acknowledge each one. Nothing else, and no care taken.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench prints, and stops at what it did not expect"
)]

use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt as _;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::sync::Semaphore;

use super::common::process::Process;

pub(crate) fn spawn(broker: &str, queue: &str, api: &str) -> Process {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    Process::spawn(
        "bare loop",
        command.args(["bare-loop", broker, queue, api]),
        Path::new("/dev/null"),
    )
}

pub(crate) async fn run(args: &[String]) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let [broker, queue, api] = args else {
        panic!("bare-loop BROKER QUEUE API")
    };
    let connection = lapin::Connection::connect(broker, lapin::ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.basic_qos(1024, BasicQosOptions::default()).await.unwrap();
    let mut jobs = channel
        .basic_consume(
            queue.as_str().into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    let http = super::common::http::client();
    let url = format!("{api}/api/v2/flows/executions");
    let slots = Arc::new(Semaphore::new(64));
    while let Some(job) = jobs.next().await {
        let job = job.unwrap();
        let slot = slots.clone().acquire_owned().await.unwrap();
        let (http, url) = (http.clone(), url.clone());
        tokio::task::spawn(async move {
            // The body goes out as it came: a loop of this kind does not even look.
            let sent = http
                .post(url)
                .header("authorization", "Bearer x")
                .body(job.data.clone())
                .send()
                .await;
            if let Ok(answer) = sent {
                let _ = answer.bytes().await;
                let _ = job.ack(BasicAckOptions::default()).await;
            }
            drop(slot);
        });
    }
}
