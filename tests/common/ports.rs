//! Ports that stay a test's own.

use std::fs::File;
use std::net::TcpListener;

/// Below the range from which the system gives ports to outgoing connections, so that none takes one while a node that
/// owns it is down for a restart.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// A port of 127.0.0.1, held against every other test of the machine by a lock on a file until it is dropped (or this
/// process is gone). Nothing listens on it yet.
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    pub fn take() -> Self {
        let folder = std::env::temp_dir().join("flowlaunch-test-ports");
        std::fs::create_dir_all(&folder).unwrap();
        for _ in 0..1000 {
            let number = rand::random_range(RANGE);
            let lock = File::create(folder.join(number.to_string())).unwrap();
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Self { number, _lock: lock };
            }
        }
        panic!("no free port in {RANGE:?}");
    }

    pub fn number(&self) -> u16 {
        self.number
    }
}
