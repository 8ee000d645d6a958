//! The description of a spool directory.

use std::path::Path;

use forebay_core::{Fs, FsError, FsErrorKind, OpenMode};

use crate::wire::{Fields, read_full, write_all};

pub(crate) const NAME: &str = "META";
const MAGIC: u64 = 0x3130_544d_5342_4546;
const VERSION: u16 = 1;
const COPY: usize = 512;

/// What a directory was created with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Random; tells this log from all others.
    pub(crate) origin: u128,
    pub(crate) created_ms: i64,
    pub(crate) max_bytes: u64,
}

impl Meta {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(2 * COPY);
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.origin.to_le_bytes());
        out.extend_from_slice(&self.created_ms.to_le_bytes());
        out.extend_from_slice(&self.max_bytes.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        let len = out.len();
        out.resize(2 * COPY, 0);
        out.copy_within(..len, COPY);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        if fields.u64()? != MAGIC || fields.u16()? != VERSION {
            return None;
        }
        let meta = Self {
            origin: fields.u128()?,
            created_ms: fields.i64()?,
            max_bytes: fields.u64()?,
        };
        let len = bytes.len() - fields.remaining();
        (fields.u32()? == crc32c::crc32c(bytes.get(..len)?)).then_some(meta)
    }

    /// Reads the file of a directory; `None` when it is missing or neither copy is whole.
    pub(crate) fn read<F: Fs>(fs: &F, dir: &Path) -> Result<Option<Self>, FsError> {
        let file = match fs.open(&dir.join(NAME), OpenMode::Existing) {
            Ok(file) => file,
            Err(error) if error.kind == FsErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = vec![0; 2 * COPY];
        let read = read_full(&file, &mut bytes, 0)?;
        bytes.truncate(read);
        let second = bytes.get(COPY..).unwrap_or_default();
        Ok(Self::decode(&bytes).or_else(|| Self::decode(second)))
    }

    /// Creates the file of a directory: it is there whole or not at all.
    pub(crate) fn create<F: Fs>(&self, fs: &F, dir: &Path) -> Result<(), FsError> {
        use forebay_core::FsFile as _;
        let new = dir.join("META.new");
        let file = fs.open(&new, OpenMode::CreateMissing)?;
        write_all(&file, &self.encode(), 0)?;
        file.sync_data()?;
        fs.rename(&new, &dir.join(NAME))?;
        fs.sync_dir(dir)
    }
}
