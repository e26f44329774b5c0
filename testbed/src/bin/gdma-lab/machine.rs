// SPDX-License-Identifier: GPL-2.0-only
//! An emulated machine as QEMU's command line, and the check that QEMU is one that can emulate it.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use thiserror::Error;

use crate::artefact::BuiltFile;
use crate::firmware::Correction;

/// The oldest QEMU whose AMD-Vi remaps DMA.
const OLDEST_QEMU: u32 = 10;
/// QEMU arguments: time in executed instructions of `1 << shift` nanoseconds each, a clock that follows
/// it, and no chance.
pub fn instructions_as_time(shift: u8) -> [String; 6] {
    let icount = format!("shift={shift},sleep=off");
    let fixed = |text: &str| text.to_owned();
    [
        fixed("-icount"),
        icount,
        fixed("-rtc"),
        fixed("base=2024-01-01,clock=vm"),
        fixed("-seed"),
        fixed("1"),
    ]
}

/// What boots as the first domain.
#[derive(Clone, Debug)]
pub struct Guest {
    pub elf: BuiltFile,
    pub args: String,
}

/// A machine, ready to be booted.
#[derive(Clone, Debug)]
pub struct Machine {
    pub arch: String,
    pub qemu: String,
    pub qemu_args: Vec<String>,
    pub xen: BuiltFile,
    pub xen_args: String,
    pub guest: Option<Guest>,
    /// What Xen gets besides.
    pub modules: Vec<BuiltFile>,
    /// How many bits devices' addresses have, where the firmware's IVRS table should say so.
    pub ivrs_virtual_bits: Option<u8>,
}

/// Where the console goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serial<'a> {
    /// To the runner, by QEMU's standard output.
    Piped,
    /// To and from the person's terminal, with a copy in this file; Ctrl-A X ends QEMU.
    Terminal { log: &'a Path },
}

impl Machine {
    /// The files this machine boots.
    pub fn files(&self) -> impl Iterator<Item = &BuiltFile> {
        std::iter::once(&self.xen)
            .chain(self.guest.iter().map(|guest| &guest.elf))
            .chain(&self.modules)
    }

    /// What has to be corrected of the firmware's tables.
    pub fn correction(&self, root: &Path) -> Result<Option<Correction>> {
        let xen = root.join(&self.xen.path);
        self.ivrs_virtual_bits
            .map(|bits| Correction::before(&xen, bits))
            .transpose()
    }

    /// QEMU's arguments, its name not included. Paths stay relative to the repository's root.
    pub fn command_line(&self, serial: Serial<'_>) -> Vec<String> {
        let mut args: Vec<String> = ["-nographic", "-no-reboot"].map(str::to_owned).to_vec();
        args.extend(self.qemu_args.iter().cloned());
        match serial {
            Serial::Piped => {
                args.extend(["-monitor", "none", "-serial", "stdio"].map(str::to_owned))
            }
            Serial::Terminal { log } => args.extend([
                "-chardev".to_owned(),
                format!(
                    "stdio,id=console,mux=on,signal=off,logfile={}",
                    escape_comma(log)
                ),
                "-serial".to_owned(),
                "chardev:console".to_owned(),
                "-mon".to_owned(),
                "chardev=console,mode=readline".to_owned(),
            ]),
        }
        args.extend(["-kernel".to_owned(), self.xen.path.display().to_string()]);
        let modules = self.boot_modules();
        if !modules.is_empty() {
            args.extend(["-initrd".to_owned(), modules.join(",")]);
        }
        args.extend(["-append".to_owned(), self.xen_args.clone()]);
        args
    }

    /// The guest and the other modules, each with its arguments.
    fn boot_modules(&self) -> Vec<String> {
        let guest = self.guest.iter().map(|guest| {
            let args = guest.args.replace(',', ",,");
            let module = format!("{} {args}", escape_comma(&guest.elf.path));
            module.trim_end().to_owned()
        });
        let others = self.modules.iter().map(|module| escape_comma(&module.path));
        guest.chain(others).collect()
    }

    /// The same machine with its guest started with other arguments.
    pub fn with_guest_args(&self, args: &str) -> Self {
        let guest = self.guest.clone().map(|guest| Guest {
            args: args.to_owned(),
            ..guest
        });
        Self {
            guest,
            ..self.clone()
        }
    }

    /// The same machine with one more argument for its guest.
    pub fn with_more_guest_args(&self, args: &str) -> Self {
        let known = self.guest.as_ref().map_or("", |guest| guest.args.as_str());
        self.with_guest_args(format!("{known} {args}").trim_start())
    }

    /// The same machine with more QEMU arguments.
    pub fn with_qemu_args(&self, args: &[impl AsRef<str>]) -> Self {
        let qemu_args = self
            .qemu_args
            .iter()
            .cloned()
            .chain(args.iter().map(|arg| arg.as_ref().to_owned()))
            .collect();
        Self {
            qemu_args,
            ..self.clone()
        }
    }
}

/// QEMU reads a comma in such arguments as a separator unless it is doubled.
fn escape_comma(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum QemuError {
    #[error("{qemu} is not installed: run `make tools`")]
    Absent { qemu: String },
    #[error("{qemu} is version {found}, and {OLDEST_QEMU} or later is needed: run `make tools`")]
    TooOld { qemu: String, found: String },
    #[error("{qemu} --version makes no sense: run `make tools`")]
    Unreadable { qemu: String },
}

/// Check that a QEMU is there and recent enough.
pub fn require_qemu(qemu: &str) -> Result<(), QemuError> {
    match Command::new(qemu).arg("--version").output() {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(QemuError::Absent {
            qemu: qemu.to_owned(),
        }),
        Err(_) => Err(QemuError::Unreadable {
            qemu: qemu.to_owned(),
        }),
        Ok(output) => check_version(qemu, &String::from_utf8_lossy(&output.stdout)),
    }
}

fn check_version(qemu: &str, banner: &str) -> Result<(), QemuError> {
    let found = banner
        .split_once("version ")
        .and_then(|(_, rest)| rest.split_whitespace().next());
    let major = found.and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    match (found, major) {
        (_, Some(major)) if major >= OLDEST_QEMU => Ok(()),
        (Some(found), Some(_)) => Err(QemuError::TooOld {
            qemu: qemu.to_owned(),
            found: found.to_owned(),
        }),
        _ => Err(QemuError::Unreadable {
            qemu: qemu.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn machine() -> Machine {
        let file = |path: &str| BuiltFile {
            path: PathBuf::from(path),
            ..BuiltFile::default()
        };
        Machine {
            arch: "x86_64".into(),
            qemu: "qemu".into(),
            qemu_args: vec!["-m".into(), "64".into()],
            xen: file("xen"),
            xen_args: "iommu=verbose,debug".into(),
            guest: Some(Guest {
                elf: file("a,b"),
                args: String::new(),
            }),
            modules: Vec::new(),
            ivrs_virtual_bits: None,
        }
    }

    /// The argument after an option.
    fn value<'a>(args: &'a [String], option: &str) -> Option<&'a str> {
        let at = args.iter().position(|arg| arg == option)?;
        args.get(at + 1).map(String::as_str)
    }

    #[test]
    fn commas_are_doubled_in_a_module_and_nowhere_else() {
        let args = machine()
            .with_guest_args("phases=a,b iterations=2")
            .command_line(Serial::Piped);
        assert_eq!(
            value(&args, "-initrd"),
            Some("a,,b phases=a,,b iterations=2")
        );
        assert_eq!(value(&args, "-append"), Some("iommu=verbose,debug"));
    }

    #[test]
    fn a_guest_without_arguments_has_no_trailing_space() {
        assert_eq!(
            value(&machine().command_line(Serial::Piped), "-initrd"),
            Some("a,,b")
        );
    }

    #[test]
    fn no_guest_means_no_module() {
        let bare = Machine {
            guest: None,
            ..machine()
        };
        assert_eq!(value(&bare.command_line(Serial::Piped), "-initrd"), None);
        assert_eq!(bare.files().count(), 1);
    }

    #[test]
    fn a_guest_keeps_its_arguments_when_it_gets_more() {
        let args = |machine: &Machine| machine.guest.as_ref().unwrap().args.clone();
        let more = machine().with_more_guest_args("a=1");
        assert_eq!(args(&more), "a=1");
        assert_eq!(args(&more.with_more_guest_args("b=2")), "a=1 b=2");
    }

    #[test]
    fn modules_come_behind_the_guest() {
        let with_policy = Machine {
            modules: vec![BuiltFile {
                path: PathBuf::from("p,q"),
                ..BuiltFile::default()
            }],
            ..machine().with_guest_args("only=1")
        };
        assert_eq!(
            value(&with_policy.command_line(Serial::Piped), "-initrd"),
            Some("a,,b only=1,p,,q")
        );
        let files: Vec<_> = with_policy.files().map(|file| &file.path).collect();
        assert_eq!(files.last(), Some(&&PathBuf::from("p,q")));
    }

    #[test]
    fn more_arguments_come_after_the_machines_own() {
        assert_eq!(
            machine().with_qemu_args(&["-seed", "1"]).qemu_args,
            ["-m", "64", "-seed", "1"]
        );
    }

    #[test]
    fn versions_are_compared_by_number() {
        let check = |banner| check_version("q", banner);
        assert_eq!(
            check("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\nCopyright"),
            Ok(())
        );
        assert_eq!(check("QEMU emulator version 11.1.0"), Ok(()));
        assert_eq!(
            check("QEMU emulator version 7.2.19 (Debian)"),
            Err(QemuError::TooOld {
                qemu: "q".into(),
                found: "7.2.19".into()
            })
        );
        assert_eq!(
            check("QEMU emulator version 9.2.0"),
            Err(QemuError::TooOld {
                qemu: "q".into(),
                found: "9.2.0".into()
            })
        );
        assert_eq!(
            check("hello"),
            Err(QemuError::Unreadable { qemu: "q".into() })
        );
    }

    #[test]
    fn an_absent_qemu_is_told_with_its_remedy() {
        let error = require_qemu("qemu-system-of-no-machine").unwrap_err();
        assert_eq!(
            error.to_string(),
            "qemu-system-of-no-machine is not installed: run `make tools`"
        );
    }
}
