// SPDX-License-Identifier: GPL-2.0-only
//! Files that a run boots and somebody else builds: where they are, and which make target makes them.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

/// The catalogue's name of the test guests' artefact.
pub const GUEST: &str = "guest";

/// A place with `{name}` parts to fill in, and the command that builds what belongs there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artefact {
    path: String,
    make: String,
    /// What a person calls it; needed where there are sources.
    #[serde(default)]
    called: String,
    /// Files and folders that it is made from.
    #[serde(default)]
    sources: Vec<String>,
    /// A file whose time is that of the last build's beginning.
    stamp: Option<String>,
}

impl Artefact {
    pub fn fill(&self, parts: &[(&str, &str)]) -> BuiltFile {
        let fill = |text: &String| {
            parts.iter().fold(text.clone(), |text, (name, value)| {
                text.replace(&format!("{{{name}}}"), value)
            })
        };
        BuiltFile {
            path: PathBuf::from(fill(&self.path)),
            make: fill(&self.make),
            called: fill(&self.called),
            sources: self.sources.iter().map(fill).map(PathBuf::from).collect(),
            stamp: self.stamp.as_ref().map(fill).map(PathBuf::from),
        }
    }
}

/// One file, relative to the repository's root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuiltFile {
    pub path: PathBuf,
    pub make: String,
    pub called: String,
    pub sources: Vec<PathBuf>,
    pub stamp: Option<PathBuf>,
}

#[derive(Debug, Error, PartialEq, Eq)]
#[error("{} is not built: run `{make}`{}", .path.display(), more_missing(*.others))]
pub struct MissingArtefact {
    path: PathBuf,
    make: String,
    others: usize,
}

fn more_missing(count: usize) -> String {
    if count == 0 {
        String::new()
    } else {
        format!(" ({count} more files are missing too)")
    }
}

/// Check that every file is there.
pub fn require<'a>(
    root: &Path,
    files: impl IntoIterator<Item = &'a BuiltFile>,
) -> Result<(), MissingArtefact> {
    let mut missing: Vec<&BuiltFile> = Vec::new();
    for file in files {
        if !root.join(&file.path).is_file() && !missing.contains(&file) {
            missing.push(file);
        }
    }
    match missing.split_first() {
        None => Ok(()),
        Some((first, rest)) => Err(MissingArtefact {
            path: first.path.clone(),
            make: first.make.clone(),
            others: rest.len(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artefact(path: &str) -> Artefact {
        Artefact {
            path: path.into(),
            make: "make thing".into(),
            called: "the {guest}".into(),
            sources: vec!["tests/{guest}".into()],
            stamp: Some("b/{env}".into()),
        }
    }

    fn file(path: &str) -> BuiltFile {
        artefact(path).fill(&[])
    }

    #[test]
    fn parts_are_filled_in() {
        let filled =
            artefact("b/{guest}/test-{env}-{guest}").fill(&[("guest", "q"), ("env", "pv64")]);
        assert_eq!(filled.path, PathBuf::from("b/q/test-pv64-q"));
        assert_eq!(filled.called, "the q");
        assert_eq!(filled.sources, [PathBuf::from("tests/q")]);
        assert_eq!(filled.stamp, Some(PathBuf::from("b/pv64")));
    }

    #[test]
    fn the_error_names_the_file_and_the_target_in_one_line() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(require(root, [&file("Cargo.toml")]), Ok(()));
        let error = require(root, [&file("Cargo.toml"), &file("nope"), &file("nope")]).unwrap_err();
        assert_eq!(error.to_string(), "nope is not built: run `make thing`");
        let error = require(root, [&file("nope"), &file("nada")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "nope is not built: run `make thing` (1 more files are missing too)"
        );
        assert!(
            require(root, [&file("src")]).is_err(),
            "a folder is no artefact"
        );
    }
}
