//! Files that settings name: secrets, as orchestrators mount them, and certificates.

use std::path::Path;

/// Whether a PEM file can be read and holds such a part: `CERTIFICATE` or `PRIVATE KEY`. TLS itself would say so only once
/// it connects, and then not which file it was.
pub(super) fn holds_pem(path: &Path, part: &str) -> Result<(), String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    let mut heads = text.lines().filter(|line| line.starts_with("-----BEGIN "));
    if heads.any(|head| head.trim_end().ends_with(&format!("{part}-----"))) {
        Ok(())
    } else {
        Err(format!("{} holds no {} in PEM", path.display(), part.to_lowercase()))
    }
}

/// What a file says, without the newline that editors and `echo` put at its end. An error never quotes it.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", path.display()))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(format!("{} is empty", path.display()));
    }
    if secret.contains(['\r', '\n', '\0']) {
        return Err(format!("{} has more than one line", path.display()));
    }
    Ok(secret.to_owned())
}
