//! `flowlaunch topology`: the broker's objects.

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::{Failed, out};
use crate::app;
use crate::broker::topology::{Argument, Arguments, Routing, Target, Topology};
use crate::config::Config;

/// Arguments of `flowlaunch topology`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Print what stands, or should stand, on the broker. Connects to nothing.
    Show {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make it. Does nothing where it stands already; an object that stands with other arguments is an error.
    Apply,
}

pub(super) async fn run(config: Config, args: Args) -> Result<(), Failed> {
    match args.action {
        Action::Show { .. } if config.broker.url.is_embedded() => {
            return Err(Failed::Usage(anyhow::anyhow!(
                "broker.url is {}: the embedded broker is one file, without exchanges or queues to show",
                config.broker.url
            )));
        }
        Action::Show { json: true } => {
            let topology = app::topology(&config);
            out::json(&as_json(&topology))?;
        }
        Action::Show { json: false } => out::print(as_text(&app::topology(&config)))?,
        Action::Apply => out::print(app::apply_topology(&config).await? + "\n")?,
    }
    Ok(())
}

fn arguments(arguments: &Arguments) -> Value {
    let pairs = arguments.iter().map(|(name, value)| {
        let value = match value {
            Argument::Int(number) => json!(number),
            Argument::Text(text) => json!(text),
        };
        ((*name).to_owned(), value)
    });
    Value::Object(pairs.collect::<Map<_, _>>())
}

const fn routing(routing: Routing) -> &'static str {
    match routing {
        Routing::Direct => "direct",
        Routing::Fanout => "fanout",
        Routing::Topic => "topic",
    }
}

fn as_json(topology: &Topology) -> Value {
    json!({
        "exchanges": topology.exchanges.iter().map(|e| json!({
            "name": e.name, "type": routing(e.routing), "durable": true, "arguments": arguments(&e.arguments),
        })).collect::<Vec<_>>(),
        "queues": topology.queues.iter().map(|q| json!({
            "name": q.name, "durable": true, "arguments": arguments(&q.arguments),
        })).collect::<Vec<_>>(),
        "bindings": topology.bindings.iter().map(|b| {
            let (to, kind) = match &b.to {
                Target::Queue(name) => (name, "queue"),
                Target::Exchange(name) => (name, "exchange"),
            };
            json!({ "source": b.from, "destination": to, "destination_type": kind, "routing_key": b.pattern })
        }).collect::<Vec<_>>(),
    })
}

fn as_text(topology: &Topology) -> String {
    use std::fmt::Write;

    let mut text = String::new();
    let list = |list: &Arguments| {
        let pairs: Vec<_> = list
            .iter()
            .map(|(name, value)| match value {
                Argument::Int(number) => format!("{name}={number}"),
                Argument::Text(text) => format!("{name}={text}"),
            })
            .collect();
        pairs.join(" ")
    };
    for exchange in &topology.exchanges {
        let _ = writeln!(
            text,
            "exchange {}  {}  {}",
            exchange.name,
            routing(exchange.routing),
            list(&exchange.arguments)
        );
    }
    for queue in &topology.queues {
        let _ = writeln!(text, "queue {}  {}", queue.name, list(&queue.arguments));
    }
    for binding in &topology.bindings {
        let (Target::Queue(to) | Target::Exchange(to)) = &binding.to;
        let _ = writeln!(text, "binding {} -> {to}  [{}]", binding.from, binding.pattern);
    }
    text
}
