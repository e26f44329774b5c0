// SPDX-License-Identifier: GPL-2.0-only
//! Writes `docs/abi.md` from the generated C header, or with `--check` says
//! whether the file is up to date. So the reference that people read, the header
//! that guests include and the crate that the hypervisor uses are one text.
#![forbid(unsafe_code)]

use std::{fmt::Write as _, fs, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Parser;

/// Generates or checks the ABI reference.
#[derive(Parser)]
struct Arguments {
    /// The generated C header.
    #[arg(long, default_value = "hypercall-abi/include/public/grant_dma.h")]
    header: PathBuf,
    /// The reference.
    #[arg(long, default_value = "docs/abi.md")]
    output: PathBuf,
    /// Only compare.
    #[arg(long)]
    check: bool,
}

/// One thing of the header, with the comment before it.
#[derive(Debug, PartialEq, Eq)]
enum Item {
    Constant {
        name: String,
        value: String,
        comment: Vec<String>,
    },
    Structure {
        name: String,
        comment: Vec<String>,
        fields: Vec<Field>,
    },
}

#[derive(Debug, PartialEq, Eq)]
struct Field {
    offset: usize,
    kind: String,
    name: String,
    comment: String,
}

impl Item {
    fn size(&self) -> usize {
        match self {
            Self::Structure { fields, .. } => fields
                .last()
                .map_or(0, |last| last.offset + type_size(&last.kind).unwrap_or(0)),
            Self::Constant { .. } => 0,
        }
    }
}

fn type_size(kind: &str) -> Option<usize> {
    match kind {
        "uint8_t" | "int8_t" => Some(1),
        "uint16_t" | "int16_t" => Some(2),
        "uint32_t" | "int32_t" => Some(4),
        "uint64_t" | "int64_t" => Some(8),
        _ => None,
    }
}

/// Takes the lines of a `/** ... */` comment, without its frame.
fn take_comment<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Vec<String> {
    lines
        .map(str::trim)
        .take_while(|line| *line != "*/")
        .map(|line| line.trim_start_matches('*').trim().to_owned())
        .collect()
}

fn take_fields<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Result<Vec<Field>> {
    let mut fields = Vec::new();
    let mut comment = Vec::new();
    let mut offset = 0_usize;
    while let Some(line) = lines.next() {
        match line.trim() {
            "/**" => comment = take_comment(lines),
            "};" => return Ok(fields),
            line => {
                let (kind, name) = line
                    .trim_end_matches(';')
                    .split_once(' ')
                    .with_context(|| format!("not a field: '{line}'"))?;
                let size = type_size(kind).with_context(|| format!("unknown type '{kind}'"))?;
                if !offset.is_multiple_of(size) {
                    bail!("'{name}' is not aligned: the structure has hidden padding");
                }
                fields.push(Field {
                    offset,
                    kind: kind.to_owned(),
                    name: name.to_owned(),
                    comment: std::mem::take(&mut comment).join(" "),
                });
                offset += size;
            }
        }
    }
    bail!("a structure does not end")
}

fn parse(header: &str) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    let mut comment = Vec::new();
    let mut lines = header.lines();
    while let Some(line) = lines.next() {
        if line == "/**" {
            comment = take_comment(&mut lines);
        } else if let Some(definition) = line.strip_prefix("#define XEN_GDMA_") {
            let (name, value) = definition
                .split_once(' ')
                .with_context(|| format!("no value: '{line}'"))?;
            items.push(Item::Constant {
                name: format!("XEN_GDMA_{name}"),
                value: value.to_owned(),
                comment: std::mem::take(&mut comment),
            });
        } else if let Some(name) = line
            .strip_prefix("struct ")
            .and_then(|rest| rest.strip_suffix(" {"))
        {
            items.push(Item::Structure {
                name: name.to_owned(),
                comment: std::mem::take(&mut comment),
                fields: take_fields(&mut lines)?,
            });
        }
    }
    Ok(items)
}

const INTRODUCTION: &str = "\
# ABI of the grant-DMA hypercall

<!-- Generated from the crate hypercall-abi by `make abi-header`: do not edit. -->

One hypercall, `__HYPERVISOR_grant_dma_op`, number 47, with three arguments: a
command, a pointer to an array, and the number of its elements. A 32-bit and a
64-bit guest use the same structures. All padding must be zero.

Each element has a `status` of its own: 0, or a negative error number of Xen's
`public/errno.h`. The call returns 0 when every element was worked on, whatever
their statuses, or an error for the call as a whole:

| error | when |
|---|---|
| `-ENOSYS` | unknown command, or a hypervisor without the service |
| `-EINVAL` | no elements |
| `-E2BIG` | more than `XEN_GDMA_MAX_BATCH` elements |
| `-EFAULT` | the array is not accessible. Elements before the inaccessible one are done, except that mappings whose results could not be written are taken back |
| `-EIO` | an IOTLB flush failed (see `xen_gdma_map` and `xen_gdma_unmap`) |

Fields marked OUT are written only when the element's status is 0; `status` of every
element that was worked on. After an error of the whole call, elements that were not
reached are as the guest left them: set `status` to something else than 0 beforehand.
";

fn render(items: &[Item]) -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str("\n## Constants\n\n| name | value | meaning |\n|---|---|---|\n");
    for item in items {
        if let Item::Constant {
            name,
            value,
            comment,
        } = item
        {
            let _ = writeln!(text, "| `{name}` | `{value}` | {} |", comment.join(" "));
        }
    }
    text.push_str("\n## Structures\n");
    for item in items {
        if let Item::Structure {
            name,
            comment,
            fields,
        } = item
        {
            let _ = writeln!(text, "\n### `struct {name}` ({} bytes)\n", item.size());
            text.push_str(comment.join("\n").trim());
            text.push_str("\n\n| offset | type | field | meaning |\n|---|---|---|---|\n");
            for field in fields {
                let _ = writeln!(
                    text,
                    "| {} | `{}` | `{}` | {} |",
                    field.offset, field.kind, field.name, field.comment
                );
            }
        }
    }
    text
}

fn run(arguments: &Arguments) -> Result<()> {
    let header = fs::read_to_string(&arguments.header)
        .with_context(|| format!("cannot read {}", arguments.header.display()))?;
    let text = render(&parse(&header)?);
    if !arguments.check {
        return fs::write(&arguments.output, text)
            .with_context(|| format!("cannot write {}", arguments.output.display()));
    }
    if fs::read_to_string(&arguments.output).unwrap_or_default() != text {
        bail!(
            "{} is not what the ABI crate says: run 'make abi-header'",
            arguments.output.display()
        );
    }
    Ok(())
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("abi-doc: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = include_str!("../../../hypercall-abi/include/public/grant_dma.h");

    #[test]
    fn c_layout_is_rust_layout() {
        use hypercall_abi::{device, lookup, mapping, query};
        let sizes = [
            ("xen_gdma_query", size_of::<query::Query>()),
            ("xen_gdma_query_device", size_of::<device::QueryDevice>()),
            ("xen_gdma_map", size_of::<mapping::Map>()),
            ("xen_gdma_unmap", size_of::<mapping::Unmap>()),
            ("xen_gdma_lookup", size_of::<lookup::Lookup>()),
        ];
        let items = parse(HEADER).expect("the header parses");
        for (wanted, size) in sizes {
            let found = items
                .iter()
                .find(|item| matches!(item, Item::Structure { name, .. } if name == wanted))
                .unwrap_or_else(|| panic!("{wanted} is in the header"));
            assert_eq!(found.size(), size, "{wanted}");
        }
    }

    #[test]
    fn hidden_padding_is_refused() {
        let header = "struct xen_gdma_bad {\n  uint16_t a;\n  uint32_t b;\n};\n";
        let error = parse(header).expect_err("b is at offset 2").to_string();
        assert!(error.contains("hidden padding"), "{error}");
    }

    #[test]
    fn comment_belongs_to_what_follows() {
        let header = "/**\n * First\n * line.\n */\n#define XEN_GDMA_A 1\n#define XEN_GDMA_B 2\n";
        let items = parse(header).expect("parses");
        assert_eq!(
            items,
            [
                Item::Constant {
                    name: "XEN_GDMA_A".into(),
                    value: "1".into(),
                    comment: vec!["First".into(), "line.".into()],
                },
                Item::Constant {
                    name: "XEN_GDMA_B".into(),
                    value: "2".into(),
                    comment: vec![],
                },
            ]
        );
    }
}
