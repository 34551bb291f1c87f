//! Where the file lies: on a network file system neither its locks nor its shared memory hold.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::store::OpenError;

/// An error when the file lies, or would lie, on a network file system that is known as one; or when it has another name:
/// SQLite's own files beside it are found by its name, and two processes that use two of them destroy it.
pub(super) fn fit(path: &Path) -> Result<(), OpenError> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = match real.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    if let Some(kind) = network(folder) {
        return Err(OpenError::Network {
            path: path.to_owned(),
            kind,
        });
    }
    let linked = real.metadata().is_ok_and(|file| file.is_file() && file.nlink() > 1);
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let how = match linked {
        true => "a hard link",
        false if is_mounted(&real, &mounts()) => "it is mounted by itself",
        false => return Ok(()),
    };
    Err(OpenError::Shared {
        path: path.to_owned(),
        how,
    })
}

/// Whether `file` is a mount point, by what proc(5) calls mountinfo: the fifth word of a line, with blanks as `\040`.
fn is_mounted(file: &Path, mounts: &str) -> bool {
    let Some(name) = file.to_str() else { return false };
    let name = name.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011");
    mounts.lines().any(|line| line.split(' ').nth(4) == Some(name.as_str()))
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
        assert!(fit(Path::new("jobs.db")).is_ok());
        assert!(fit(&std::env::temp_dir().join("jobs.db")).is_ok());
    }

    #[test]
    fn a_file_with_two_names_is_refused_and_one_behind_a_symbolic_link_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let [file, link, twin] = ["jobs.db", "link.db", "twin.db"].map(|name| dir.path().join(name));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(fit(&file).is_ok() && fit(&link).is_ok());
        std::fs::hard_link(&file, &twin).unwrap();
        for name in [&file, &link, &twin] {
            let said = fit(name).unwrap_err().to_string();
            assert!(
                said.contains("a hard link") && said.contains("folder instead"),
                "{said}"
            );
        }
        let mounts = "36 35 98:0 / / rw - ext4 /dev/root rw\n\
                      37 36 98:0 /x.db /data/my\\040jobs.db rw - ext4 /dev/root rw\n";
        assert!(is_mounted(Path::new("/data/my jobs.db"), mounts));
        assert!(!is_mounted(Path::new("/data/jobs.db"), mounts));
    }
}
