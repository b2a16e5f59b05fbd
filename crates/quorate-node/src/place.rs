//! Where a data directory is: what of its place an operator should know before trusting it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// The bits of a directory's mode that let others than its owner in.
const MODE_OF_OTHERS: u32 = 0o077;

/// Warns of what may cost the data or give it away. Nothing of it keeps a node from starting: a test may well live in
/// memory, and a directory may be shared on purpose.
pub(crate) fn warn_of(dir: &Path) {
    if let Some(hazard) = hazard(dir) {
        tracing::warn!(
            dir = %dir.display(),
            "the data directory is {hazard}; keep it on a disk of this machine unless its loss is no matter"
        );
    }
    if let Ok(mode) = std::fs::metadata(dir).map(|metadata| metadata.permissions().mode())
        && mode & MODE_OF_OTHERS != 0
    {
        tracing::warn!(
            dir = %dir.display(),
            mode = %format_args!("{:04o}", mode & 0o7777),
            "others on this machine can open the data directory; give it mode 0700 (chmod 0700)"
        );
    }
}

/// Why the file system of a directory may lose what it was told to keep.
#[cfg(target_os = "linux")]
fn hazard(dir: &Path) -> Option<&'static str> {
    let kind = rustix::fs::statfs(dir).ok()?.f_type;
    // The magic numbers of `statfs(2)`; their type differs between machines, their 32 bits do not.
    kind_hazard(kind as u32)
}

#[cfg(not(target_os = "linux"))]
fn hazard(_dir: &Path) -> Option<&'static str> {
    None
}

#[cfg(target_os = "linux")]
fn kind_hazard(kind: u32) -> Option<&'static str> {
    match kind {
        0x0102_1994 | 0x8584_58f6 => Some("in memory (tmpfs), and gone when the machine restarts"),
        0x0000_6969 => Some("on NFS, where locks and syncs are not what they are on a disk"),
        0xff53_4d42 | 0xfe53_4d42 => {
            Some("on a network share (SMB), where locks and syncs are not what they are on a disk")
        }
        _ => None,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn row_25_file_systems_that_forget_are_known_by_their_numbers() {
        for (kind, word) in
            [(0x0102_1994, "tmpfs"), (0x8584_58f6, "tmpfs"), (0x6969, "NFS"), (0xff53_4d42, "SMB")]
        {
            assert!(kind_hazard(kind).is_some_and(|hazard| hazard.contains(word)), "{word}");
        }
        let (ext4, btrfs) = (0xef53, 0x9123_683e);
        assert_eq!((kind_hazard(ext4), kind_hazard(btrfs)), (None, None));
        assert!(hazard(Path::new("/proc")).is_none(), "what is neither is not warned of");
    }
}
