// SPDX-License-Identifier: GPL-2.0-only
//! Whether what a run boots is older than what it is made from.
//!
//! Only a warning: time stamps say little for certain. A file counts as built when its build began, which
//! the build scripts leave as the time of a file beside it; one that came out as it was keeps its own, older
//! time.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::artefact::BuiltFile;

/// Something that should be built again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    called: String,
    source: PathBuf,
    make: String,
    /// How many more need the same command.
    others: usize,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is older than {}", self.called, self.source.display())?;
        if self.others > 0 {
            write!(f, ", and {} more are too", self.others)?;
        }
        write!(f, ": run `{}`", self.make)
    }
}

/// What is older than its sources, one for each command that would help. A file that cannot be looked
/// at is taken as fresh: what is missing altogether is told elsewhere.
pub fn find<'a>(root: &Path, files: impl IntoIterator<Item = &'a BuiltFile>) -> Vec<Stale> {
    let mut seen: Vec<&BuiltFile> = Vec::new();
    let mut found: Vec<Stale> = Vec::new();
    for file in files {
        if seen.contains(&file) {
            continue;
        }
        seen.push(file);
        let Some(source) = newer_source(root, file) else {
            continue;
        };
        match found.iter_mut().find(|stale| stale.make == file.make) {
            Some(known) => known.others += 1,
            None => found.push(Stale {
                called: file.called.clone(),
                source,
                make: file.make.clone(),
                others: 0,
            }),
        }
    }
    found
}

/// The newest of a file's sources, if the file was built before it was changed.
fn newer_source(root: &Path, file: &BuiltFile) -> Option<PathBuf> {
    let stamps = std::iter::once(&file.path).chain(&file.stamp);
    let built = stamps.filter_map(|path| changed(&root.join(path))).max()?;
    let (when, path) = file
        .sources
        .iter()
        .filter_map(|source| newest(&root.join(source)))
        .max()?;
    let within_root = path.strip_prefix(root).map(Path::to_owned);
    (when > built).then(|| within_root.unwrap_or(path))
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

/// The newest file at or below a path, and when it was changed.
fn newest(path: &Path) -> Option<(SystemTime, PathBuf)> {
    let kind = fs::symlink_metadata(path).ok()?.file_type();
    if kind.is_dir() {
        fs::read_dir(path)
            .ok()?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| is_source(path))
            .filter_map(|path| newest(&path))
            .max()
    } else {
        Some((changed(path)?, path.to_owned()))
    }
}

/// Neither a document nor what an editor leaves.
fn is_source(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !name.starts_with('.') && !name.ends_with('~') && !name.ends_with(".md")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A folder that goes when the test ends.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let name = format!("gdma-lab-stale-{}-{name}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        /// A file that was changed so many seconds after the epoch.
        fn file(&self, path: &str, seconds: u64) -> &Self {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let when = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            let file = fs::File::create(path).unwrap();
            file.set_modified(when).unwrap();
            self
        }

        fn find(&self, files: &[BuiltFile]) -> Vec<String> {
            let found = find(&self.0, files);
            found.iter().map(Stale::to_string).collect()
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn built(path: &str, make: &str) -> BuiltFile {
        BuiltFile {
            path: path.into(),
            make: make.into(),
            called: format!("Xen ({path})"),
            sources: vec!["hv".into(), "lock".into()],
            stamp: Some(format!("{path}.stamp").into()),
        }
    }

    #[test]
    fn the_newest_source_and_the_remedy_are_named() {
        let tree = Tree::new("named");
        tree.file("xen", 100).file("hv/src/a.rs", 99);
        let xen = built("xen", "make xen");
        assert!(tree.find(std::slice::from_ref(&xen)).is_empty());
        tree.file("hv/src/b/c.rs", 102).file("lock", 101);
        assert_eq!(
            tree.find(&[xen]),
            ["Xen (xen) is older than hv/src/b/c.rs: run `make xen`"]
        );
    }

    #[test]
    fn what_a_build_left_as_it_was_is_as_new_as_the_build() {
        let tree = Tree::new("stamp");
        tree.file("xen", 100).file("hv/a.rs", 110);
        assert_eq!(tree.find(&[built("xen", "make xen")]).len(), 1);
        tree.file("xen.stamp", 111);
        assert!(tree.find(&[built("xen", "make xen")]).is_empty());
        tree.file("hv/a.rs", 112);
        assert_eq!(tree.find(&[built("xen", "make xen")]).len(), 1);
    }

    #[test]
    fn one_line_a_command() {
        let tree = Tree::new("lines");
        tree.file("g1", 1)
            .file("g2", 1)
            .file("xen", 1)
            .file("lock", 2);
        let files = ["g1", "g2", "g2"].map(|path| built(path, "make guests"));
        let all = [files.as_slice(), &[built("xen", "make xen")]].concat();
        assert_eq!(
            tree.find(&all),
            [
                "Xen (g1) is older than lock, and 1 more are too: run `make guests`",
                "Xen (xen) is older than lock: run `make xen`"
            ]
        );
    }

    #[test]
    fn documents_and_editors_files_make_nothing_stale() {
        let tree = Tree::new("documents");
        tree.file("xen", 1).file("hv/a.rs", 1);
        tree.file("hv/README.md", 2)
            .file("hv/.a.rs.swp", 2)
            .file("hv/a.rs~", 2);
        assert!(tree.find(&[built("xen", "make xen")]).is_empty());
    }

    #[test]
    fn what_has_no_sources_or_is_not_there_is_not_stale() {
        let tree = Tree::new("absent");
        tree.file("stock", 1).file("hv/a.rs", 2);
        let stock = BuiltFile {
            sources: Vec::new(),
            ..built("stock", "make xen-stock")
        };
        assert!(tree.find(&[stock, built("absent", "make xen")]).is_empty());
    }
}
