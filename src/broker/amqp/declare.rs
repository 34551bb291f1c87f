//! Declares the topology, or verifies that it stands.

use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

use super::super::settings::Declare;
use super::super::topology::{Argument, Arguments, Exchange, Queue, Routing, Target, Topology};

/// Why the topology does not stand.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DeclareError {
    /// It stands with other arguments.
    #[error(
        "{what} {name} stands with other arguments: {difference}. Delete it when it is empty (it is then made anew), or set another broker.prefix"
    )]
    Differs {
        /// `queue` or `exchange`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The argument and both values, in the broker's words.
        difference: String,
    },
    /// It is not there, and we are not to make it.
    #[error(
        "{what} {name} is missing: `flowlaunch topology apply` makes it, with an account that may declare (broker.declare is \"verify\")"
    )]
    Missing {
        /// `queue` or `exchange`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// This account may not.
    #[error(
        "this account may not declare {what} {name}: {why}. Give it the permission, or set broker.declare = \"verify\" and let another account run `flowlaunch topology apply`"
    )]
    Forbidden {
        /// `queue`, `exchange` or `binding`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The broker's words.
        why: String,
    },
    /// It does not answer.
    #[error(
        "{name} does not answer within {seconds} s: it may have no leader. Look at the broker's log; a queue that is empty can be deleted and is made anew"
    )]
    Silent {
        /// `queue NAME` or `exchange NAME`.
        name: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Anything else.
    #[error("cannot declare {what} {name}: {why}")]
    Other {
        /// `queue`, `exchange` or `binding`.
        what: &'static str,
        /// Its name.
        name: String,
        /// What happened.
        why: String,
    },
}

/// Makes or verifies everything, in order. On a channel of its own: an error closes it.
pub async fn declare(connection: &Connection, topology: &Topology, mode: Declare) -> Result<(), DeclareError> {
    let channel = self::channel(connection).await?;
    for exchange in &topology.exchanges {
        self::exchange(&channel, exchange, mode).await?;
    }
    for queue in &topology.queues {
        self::queue(&channel, queue, mode).await?;
    }
    if mode == Declare::Create {
        // There is no passive bind; with "verify" a missing binding shows as a message among the dead letters.
        for binding in &topology.bindings {
            bind(&channel, binding).await?;
        }
    }
    // A channel that is left open would only cost the broker a process.
    let _ = channel.close(200, "declared".into()).await;
    Ok(())
}

pub(super) async fn channel(connection: &Connection) -> Result<Channel, DeclareError> {
    connection
        .create_channel()
        .await
        .map_err(|error| explain("channel", "for declaring", &error))
}

pub(super) async fn exchange(channel: &Channel, exchange: &Exchange, mode: Declare) -> Result<(), DeclareError> {
    let kind = match exchange.routing {
        Routing::Direct => ExchangeKind::Direct,
        Routing::Fanout => ExchangeKind::Fanout,
        Routing::Topic => ExchangeKind::Topic,
    };
    let options = ExchangeDeclareOptions {
        durable: true,
        passive: mode == Declare::Verify,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(exchange.name.as_str().into(), kind, options, table(&exchange.arguments))
        .await
        .map_err(|error| explain("exchange", &exchange.name, &error))
}

/// Answers how many messages are ready, and how many consumers there are.
pub(super) async fn queue(channel: &Channel, queue: &Queue, mode: Declare) -> Result<(u32, u32), DeclareError> {
    let options = QueueDeclareOptions {
        durable: true,
        passive: mode == Declare::Verify,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(queue.name.as_str().into(), options, table(&queue.arguments))
        .await
        .map(|seen| (seen.message_count(), seen.consumer_count()))
        .map_err(|error| match (explain("queue", &queue.name, &error), mode) {
            // We asked for it to be made: a node that has just come back knows the queue, and has not started it yet.
            (DeclareError::Missing { what, name }, Declare::Create) => DeclareError::Other {
                what,
                name,
                why: "the broker knows it and has not started it yet. Try again in a moment".to_owned(),
            },
            (error, _) => error,
        })
}

async fn bind(channel: &Channel, binding: &super::super::topology::Binding) -> Result<(), DeclareError> {
    let from = binding.from.as_str().into();
    let pattern = binding.pattern.as_str().into();
    let bound = match &binding.to {
        Target::Queue(queue) => {
            let options = QueueBindOptions::default();
            channel
                .queue_bind(queue.as_str().into(), from, pattern, options, FieldTable::default())
                .await
        }
        Target::Exchange(exchange) => {
            let options = ExchangeBindOptions::default();
            channel
                .exchange_bind(exchange.as_str().into(), from, pattern, options, FieldTable::default())
                .await
        }
    };
    bound.map_err(|error| explain("binding", &format!("{} ({})", binding.from, binding.pattern), &error))
}

fn table(arguments: &Arguments) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        let value = match value {
            Argument::Int(number) => AMQPValue::LongLongInt(*number),
            Argument::Text(text) => AMQPValue::LongString(text.as_str().into()),
        };
        table.insert((*name).into(), value);
    }
    table
}

fn explain(what: &'static str, name: &str, error: &lapin::Error) -> DeclareError {
    let name = name.to_owned();
    let why = error.to_string();
    let ErrorKind::ProtocolError(error) = error.kind() else {
        return DeclareError::Other { what, name, why };
    };
    let message = error.get_message().to_string();
    match error.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => DeclareError::Differs {
            what,
            name,
            difference: difference(&message),
        },
        AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => DeclareError::Missing { what, name },
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => DeclareError::Forbidden {
            what,
            name,
            why: message,
        },
        AMQPErrorKind::Soft(_) | AMQPErrorKind::Hard(_) => DeclareError::Other { what, name, why },
    }
}

/// The part of RabbitMQ's sentence that names the argument and both values:
/// `PRECONDITION_FAILED - inequivalent arg 'x' for queue 'q' in vhost '/': received 'a' but current is 'b'`.
fn difference(message: &str) -> String {
    let argument = message
        .split_once("inequivalent arg '")
        .and_then(|(_, rest)| rest.split_once('\''));
    let values = message.split_once("': ");
    match (argument, values) {
        (Some((argument, _)), Some((_, values))) => format!("argument {argument}: {values}"),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_argument_and_both_values_are_named() {
        let message = "PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue 'f.jobs.bulk' in vhost '/': \
                       received the value '20' of type 'signedint' but current is the value '5' of type 'long'";
        assert_eq!(
            super::difference(message),
            "argument x-delivery-limit: received the value '20' of type 'signedint' but current is the value '5' of type 'long'"
        );
    }
}
