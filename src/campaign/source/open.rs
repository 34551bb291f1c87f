//! Opening: whatever was named becomes a file that can be read again from its start, and known again by its digest.

use std::fs::File;
use std::io::{self, Read, stdin};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::bad::{SourceError, Trouble};
use super::detect::Layout;
use super::mapping::Mapping;
use super::raw::RawRecords;
use super::rows::{Opened, Rows, ZoneCheck};

/// A file of rows, open for as many passes as are wanted, side by side too.
#[derive(Debug)]
pub struct Source {
    name: String,
    file: Arc<File>,
    digest: Sum,
}

type Sum = [u8; 32];

impl Source {
    /// Opens the file; what can be read only once (standard input, named `-`, or a pipe) is kept in a temporary file.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        if path.as_os_str() == "-" {
            return Self::spool("standard input", stdin().lock());
        }
        let name = path.display().to_string();
        let open = || {
            let file = File::open(path)?;
            let kind = file.metadata()?.file_type();
            Ok((file, kind))
        };
        match open() {
            Err(error) => Err(Trouble::Io(error).of(&name)),
            Ok((_, kind)) if kind.is_dir() => {
                Err(Trouble::Unfit("is a folder; name a file in it".to_owned()).of(&name))
            }
            Ok((file, kind)) if kind.is_file() => Self::of(name, file),
            Ok((file, _)) => Self::spool(&name, file),
        }
    }

    /// Keeps what can be read only once in a temporary file, as it comes: what is compressed stays so.
    pub fn spool(name: &str, mut from: impl Read) -> Result<Self, SourceError> {
        let spooled = tempfile::tempfile().and_then(|mut file| {
            io::copy(&mut from, &mut file)?;
            Ok(file)
        });
        match spooled {
            Ok(file) => Self::of(name.to_owned(), file),
            Err(error) => Err(Trouble::Io(error).of(name)),
        }
    }

    fn of(name: String, file: File) -> Result<Self, SourceError> {
        let file = Arc::new(file);
        let mut summing = Summing::new(FromStart::new(&file), None);
        match io::copy(&mut summing, &mut io::sink()) {
            Ok(0) => Err(Trouble::Unfit("is empty".to_owned()).of(&name)),
            Ok(_) => Ok(Self {
                name,
                digest: summing.sum(),
                file,
            }),
            Err(error) => Err(Trouble::Io(error).of(&name)),
        }
    }

    /// SHA-256 of its bytes as they were given, in hexadecimal digits.
    pub fn digest(&self) -> String {
        self.digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// How it was named.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its rows, from the first. When the file is no longer what it was when it was opened, the pass ends in an error.
    pub fn rows(&self, layout: &Layout, mapping: &Arc<Mapping>, zones: ZoneCheck) -> Result<Rows, SourceError> {
        Rows::of(&self.name, self.bytes(), layout, mapping, zones)
    }

    /// Its records as they are written.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn raw(&self, layout: &Layout) -> Result<RawRecords, SourceError> {
        RawRecords::of(&self.name, Opened::of(&self.name, self.bytes(), layout)?)
    }

    fn bytes(&self) -> impl Read + Send + use<> {
        Summing::new(FromStart::new(&self.file), Some(self.digest))
    }
}

/// Reads with a place of its own: passes over one file do not move each other.
struct FromStart {
    file: Arc<File>,
    at: u64,
}

impl FromStart {
    fn new(file: &Arc<File>) -> Self {
        Self {
            file: Arc::clone(file),
            at: 0,
        }
    }
}

impl Read for FromStart {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read_at(into, self.at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(read) => {
                    self.at += read as u64;
                    return Ok(read);
                }
            }
        }
    }
}

/// Sums up what passes, and says at the end when it is not what it should have been.
struct Summing<R> {
    inner: R,
    hasher: Sha256,
    wanted: Option<Sum>,
}

impl<R: Read> Summing<R> {
    fn new(inner: R, wanted: Option<Sum>) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            wanted,
        }
    }

    fn sum(&self) -> Sum {
        self.hasher.clone().finalize().into()
    }
}

impl<R: Read> Read for Summing<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.hasher.update(&into[..read]);
        // A read of nothing for want of room is not the end.
        if read == 0 && !into.is_empty() && self.wanted.is_some_and(|wanted| wanted != self.sum()) {
            return Err(io::Error::other("it was changed while it was read"));
        }
        Ok(read)
    }
}
