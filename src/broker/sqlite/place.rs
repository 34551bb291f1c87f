//! Where the file lies: on a network file system neither its locks nor its shared memory hold.

use std::path::Path;

use super::store::OpenError;

/// An error when the file lies, or would lie, on a network file system that is known as one.
pub(super) fn local(path: &Path) -> Result<(), OpenError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    match network(folder) {
        Some(kind) => Err(OpenError::Network {
            path: path.to_owned(),
            kind,
        }),
        None => Ok(()),
    }
}

#[cfg(target_os = "linux")]
#[allow(
    clippy::useless_conversion,
    reason = "the number's type differs between architectures"
)]
fn network(folder: &Path) -> Option<&'static str> {
    // A folder that is not there is told of by whoever opens the file.
    let stat = nix::sys::statfs::statfs(folder).ok()?;
    kind(i64::from(stat.filesystem_type().0))
}

#[cfg(not(target_os = "linux"))]
fn network(_folder: &Path) -> Option<&'static str> {
    None
}

/// The name of a network file system by the number that statfs(2) gives it.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "the numbers are Linux's"))]
const fn kind(number: i64) -> Option<&'static str> {
    Some(match number {
        0x6969 => "NFS",
        0x517b => "SMB",
        0xfe53_4d42 => "SMB2",
        0xff53_4d42 => "CIFS",
        0x00c3_6400 => "Ceph",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x0bd0_0bd0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x0102_1997 => "9P",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_file_system_is_known_by_its_number_and_a_local_one_is_none() {
        assert_eq!(kind(0x6969), Some("NFS"));
        assert_eq!(kind(0xff53_4d42), Some("CIFS"));
        // ext4, tmpfs, overlayfs.
        for local in [0xef53, 0x0102_1994, 0x794c_7630] {
            assert_eq!(kind(local), None);
        }
        assert!(local(Path::new("jobs.db")).is_ok());
        assert!(local(&std::env::temp_dir().join("jobs.db")).is_ok());
    }
}
