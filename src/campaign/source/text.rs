//! From bytes to text: gzip is undone and every encoding becomes UTF-8.
//!
//! What is not of the encoding becomes [`NO_TEXT`], a byte that no UTF-8 holds. So one check, of each cell where its line and
//! column are known, finds what is wrong in any encoding.

use std::io::{self, Cursor, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};
use flate2::read::MultiGzDecoder;

use super::bad::Trouble;

/// Stands for bytes that mean nothing in the file's encoding.
const NO_TEXT: u8 = 0xff;

/// What is no text at all, by its first bytes, and what to do about it.
const FOREIGN: [(&[u8], &str); 6] = [
    (
        b"PK\x03\x04",
        "is an Excel workbook or a ZIP archive: save the sheet as CSV, or unpack it",
    ),
    (b"\xd0\xcf\x11\xe0", "is an old Excel workbook: save the sheet as CSV"),
    (b"%PDF-", "is a PDF: CSV or JSON Lines are wanted"),
    (
        b"\x28\xb5\x2f\xfd",
        "is compressed with zstd: of compressed files only gzip's are read",
    ),
    (
        b"BZh",
        "is compressed with bzip2: of compressed files only gzip's are read",
    ),
    (
        b"\xfd7zXZ",
        "is compressed with xz: of compressed files only gzip's are read",
    ),
];

/// The text of a file, as UTF-8.
pub(super) struct Text {
    pub(super) reader: Box<dyn Read + Send>,
    /// What it was in the file.
    pub(super) encoding: &'static Encoding,
}

impl Text {
    /// `given` is the encoding, when somebody said which; else a byte-order mark says it, else it is UTF-8.
    pub(super) fn of(raw: impl Read + Send + 'static, given: Option<&'static Encoding>) -> Result<Self, Trouble> {
        let (head, raw) = peek(raw, 2)?;
        let plain: Box<dyn Read + Send> = if head == [0x1f, 0x8b] {
            Box::new(Gunzip(MultiGzDecoder::new(raw)))
        } else {
            Box::new(raw)
        };
        let (head, mut plain) = peek(plain, 8)?;
        if let Some((_, what)) = FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Trouble::unfit(*what);
        }
        let marked = Encoding::for_bom(&head);
        let encoding = match (given, marked) {
            (Some(given), Some((marked, _))) if given != marked => {
                return Trouble::unfit(format!(
                    "begins with the byte-order mark of {}, but the encoding that was given is {}: leave it out",
                    marked.name(),
                    given.name()
                ));
            }
            (Some(given), _) => given,
            (None, Some((marked, _))) => marked,
            (None, None) => UTF_8,
        };
        let mark = marked.map_or(0, |(_, length)| length as u64);
        io::copy(&mut plain.by_ref().take(mark), &mut io::sink())?;
        let reader: Box<dyn Read + Send> = if encoding == UTF_8 {
            Box::new(plain)
        } else {
            Box::new(Transcoding::new(plain, encoding))
        };
        Ok(Self { reader, encoding })
    }
}

/// The first bytes, as far as there are so many, and all of it.
pub(super) fn peek<R: Read>(mut reader: R, most: u64) -> io::Result<(Vec<u8>, impl Read + use<R>)> {
    let mut head = Vec::new();
    reader.by_ref().take(most).read_to_end(&mut head)?;
    Ok((head.clone(), Cursor::new(head).chain(reader)))
}

struct Gunzip<R>(MultiGzDecoder<R>);

impl<R: Read> Read for Gunzip<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let damaged =
            |error: io::Error| io::Error::new(error.kind(), format!("its gzip data is damaged or cut off ({error})"));
        self.0.read(into).map_err(damaged)
    }
}

struct Transcoding<R> {
    inner: R,
    decoder: Decoder,
    /// What was read and is not yet decoded: `raw[from..to]`.
    raw: Box<[u8]>,
    from: usize,
    to: usize,
    /// What is decoded and not yet given on: `text[given..]`.
    text: Vec<u8>,
    given: usize,
    /// Nothing more can be read; nothing more will come.
    last: bool,
    done: bool,
}

impl<R: Read> Transcoding<R> {
    const ROOM: usize = 1 << 13;

    fn new(inner: R, encoding: &'static Encoding) -> Self {
        Self {
            inner,
            decoder: encoding.new_decoder_without_bom_handling(),
            raw: vec![0; Self::ROOM].into(),
            from: 0,
            to: 0,
            text: Vec::with_capacity(Self::ROOM),
            given: 0,
            last: false,
            done: false,
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        if self.from == self.to && !self.last {
            (self.from, self.to) = (0, self.inner.read(&mut self.raw)?);
            self.last = self.to == 0;
        }
        self.given = 0;
        self.text.resize(Self::ROOM, 0);
        let raw = &self.raw[self.from..self.to];
        let (result, read, written) = self
            .decoder
            .decode_to_utf8_without_replacement(raw, &mut self.text, self.last);
        self.from += read;
        self.text.truncate(written);
        match result {
            DecoderResult::InputEmpty => self.done = self.last,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(..) => self.text.push(NO_TEXT),
        }
        Ok(())
    }
}

impl<R: Read> Read for Transcoding<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.given == self.text.len() {
            if self.done {
                return Ok(0);
            }
            self.refill()?;
        }
        let count = into.len().min(self.text.len() - self.given);
        into[..count].copy_from_slice(&self.text[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

/// A cell or line as text, or what is wrong with it.
pub(super) fn checked<'a>(bytes: &'a [u8], encoding: &'static Encoding) -> Result<&'a str, String> {
    if bytes.contains(&0) {
        return Err("has a zero byte in it: no text has one".to_owned());
    }
    str::from_utf8(bytes).map_err(|error| {
        let place = 1 + String::from_utf8_lossy(&bytes[..error.valid_up_to()]).chars().count();
        let advice = if encoding == UTF_8 {
            ": say which encoding the file has (--encoding windows-1252), or write all of it in one"
        } else {
            ""
        };
        format!("is not {} from its character {place} on{advice}", encoding.name())
    })
}
