//! The means to write metrics as one block: a family is a metric with a handle for every label value it can have.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SharedString};

/// A closed set of label values; `()` for a metric without labels, a pair for one with more.
pub trait Labels: Copy + 'static {
    /// How many there are.
    const COUNT: usize;
    /// Every value, in the order of [`Labels::index`].
    fn all() -> Vec<Self>;
    /// Its place among all.
    fn index(self) -> usize;
    /// Names and values, as Prometheus shows them.
    fn labels(self) -> Vec<(&'static str, &'static str)>;
}

impl Labels for () {
    const COUNT: usize = 1;

    fn all() -> Vec<Self> {
        vec![()]
    }

    fn index(self) -> usize {
        0
    }

    fn labels(self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }
}

impl<A: Labels, B: Labels> Labels for (A, B) {
    const COUNT: usize = A::COUNT * B::COUNT;

    fn all() -> Vec<Self> {
        A::all()
            .into_iter()
            .flat_map(|a| B::all().into_iter().map(move |b| (a, b)))
            .collect()
    }

    fn index(self) -> usize {
        self.0.index() * B::COUNT + self.1.index()
    }

    fn labels(self) -> Vec<(&'static str, &'static str)> {
        [self.0.labels(), self.1.labels()].concat()
    }
}

/// A handle that a recorder gives out.
pub trait Handle: Sized {
    /// Gives the metric its help text.
    fn describe(recorder: &dyn Recorder, name: &'static str, help: String);
    /// Makes the handle.
    fn register(recorder: &dyn Recorder, key: &Key) -> Self;
}

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

macro_rules! handles {
    ($($kind:ty: $describe:ident, $register:ident;)*) => {$(
        impl Handle for $kind {
            fn describe(recorder: &dyn Recorder, name: &'static str, help: String) {
                recorder.$describe(KeyName::from_const_str(name), None, SharedString::from(help));
            }

            fn register(recorder: &dyn Recorder, key: &Key) -> Self {
                recorder.$register(key, &METADATA)
            }
        }
    )*};
}

handles! {
    Counter: describe_counter, register_counter;
    Gauge: describe_gauge, register_gauge;
    Histogram: describe_histogram, register_histogram;
}

/// A metric: one handle for each value of its labels.
pub struct Family<H, L> {
    handles: Vec<H>,
    labels: PhantomData<L>,
}

impl<H: Handle, L: Labels> Family<H, L> {
    pub(super) fn register(recorder: &dyn Recorder, name: &'static str, help: &str) -> Self {
        H::describe(recorder, name, help.trim().to_owned());
        let handles = L::all().into_iter().map(|value| {
            let labels: Vec<Label> = value
                .labels()
                .into_iter()
                .map(|(name, value)| Label::new(name, value))
                .collect();
            H::register(recorder, &Key::from_parts(name, labels))
        });
        Self {
            handles: handles.collect(),
            labels: PhantomData,
        }
    }

    /// The handle of one label value.
    pub fn of(&self, labels: L) -> &H {
        &self.handles[labels.index()]
    }
}

impl<H> Deref for Family<H, ()> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.handles[0]
    }
}

impl<H, L> fmt::Debug for Family<H, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Family of {}", self.handles.len())
    }
}

/// A request under way: counted down wherever it ends, a panic included.
#[must_use = "dropped at once it counts nothing"]
pub struct InFlight(Gauge);

impl InFlight {
    pub(super) fn new(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// Makes the struct of all metrics from their names, kinds, label sets and comments.
macro_rules! catalogue {
    ($($(#[doc = $help:literal])+ $name:ident: $handle:ident<$labels:ty>,)*) => {
        /// Every metric of the program, at hand.
        #[derive(Debug)]
        pub struct Metrics {
            $($(#[doc = $help])+ pub $name: Family<$handle, $labels>,)*
        }

        impl Metrics {
            /// The name of every metric.
            pub const NAMES: [&'static str; [$(stringify!($name)),*].len()] =
                [$(concat!("flowlaunch_", stringify!($name))),*];

            fn register(recorder: &dyn metrics::Recorder) -> Self {
                Self {
                    $($name: Family::register(recorder, concat!("flowlaunch_", stringify!($name)), concat!($($help),+)),)*
                }
            }
        }
    };
}
pub(super) use catalogue;
