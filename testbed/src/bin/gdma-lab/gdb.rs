// SPDX-License-Identifier: GPL-2.0-only
//! The client's side of gdb's remote protocol, as far as it takes to stop an emulated machine at one
//! place and to change its memory there: read and write memory, a hardware breakpoint, go on, let go.
//!
//! A packet is `$`, what it says, `#` and two hexadecimal digits: the sum of what it says, modulo 256.
//! Each is acknowledged by `+`. What these requests and their answers say is plain ASCII, so there is
//! nothing to escape.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};

use thiserror::Error;

/// Bytes of memory a request; QEMU's longest packet has room for more.
const CHUNK: usize = 0x800;
/// No answer to any request of ours is as long.
const LONGEST_ANSWER: u64 = 0x2000;

/// Why a request had no effect, or none that is known.
#[derive(Debug, Error)]
pub enum GdbError {
    #[error("QEMU's debugger has gone")]
    Gone,
    #[error("QEMU's debugger does not answer: {0}")]
    Silent(#[source] io::Error),
    #[error("QEMU's debugger sent what is no packet: {0:?}")]
    Garbled(String),
    #[error("QEMU's debugger answers '{answer}' to '{request}'")]
    Refused { request: String, answer: String },
}

impl From<io::Error> for GdbError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
                Self::Gone
            }
            _ => Self::Silent(error),
        }
    }
}

/// The debugger in a QEMU that waits, or that runs towards a breakpoint.
#[derive(Debug)]
pub struct Debugger<S: Read + Write> {
    stream: BufReader<S>,
}

impl<S: Read + Write> Debugger<S> {
    /// How long it is waited for is the stream's affair.
    pub fn new(stream: S) -> Self {
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// From now on addresses of memory are physical ones.
    pub fn use_physical_addresses(&mut self) -> Result<(), GdbError> {
        self.order("Qqemu.PhyMemMode:1")
    }

    pub fn set_breakpoint(&mut self, address: u64) -> Result<(), GdbError> {
        self.order(&format!("Z1,{address:x},1"))
    }

    pub fn remove_breakpoint(&mut self, address: u64) -> Result<(), GdbError> {
        self.order(&format!("z1,{address:x},1"))
    }

    /// Let the machine run until it comes to a breakpoint.
    pub fn run_to_breakpoint(&mut self) -> Result<(), GdbError> {
        let answer = self.ask("c")?;
        // A trap is signal 5; the machine's end would be W or X.
        if answer.starts_with("T05") || answer.starts_with("S05") {
            Ok(())
        } else {
            Err(refused("c", answer))
        }
    }

    /// Let the machine run, with no debugger any more.
    pub fn detach(mut self) -> Result<(), GdbError> {
        self.order("D")
    }

    pub fn read(&mut self, address: u64, length: usize) -> Result<Vec<u8>, GdbError> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let part = CHUNK.min(length - bytes.len());
            let request = format!("m{:x},{part:x}", address + bytes.len() as u64);
            let answer = self.ask(&request)?;
            match bytes_of(&answer) {
                Some(read) if read.len() == part => bytes.extend(read),
                _ => return Err(refused(&request, answer)),
            }
        }
        Ok(bytes)
    }

    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), GdbError> {
        for (nth, part) in bytes.chunks(CHUNK).enumerate() {
            let mut request = format!("M{:x},{:x}:", address + (nth * CHUNK) as u64, part.len());
            for byte in part {
                let _ = write!(request, "{byte:02x}");
            }
            self.order(&request)?;
        }
        Ok(())
    }

    /// A request to which there is one good answer.
    fn order(&mut self, request: &str) -> Result<(), GdbError> {
        match self.ask(request)? {
            answer if answer == "OK" => Ok(()),
            answer => Err(refused(request, answer)),
        }
    }

    fn ask(&mut self, request: &str) -> Result<String, GdbError> {
        self.send(packet(request).as_bytes())?;
        match self.byte()? {
            b'+' => {}
            other => return Err(garbled(&[other])),
        }
        let answer = self.packet()?;
        self.send(b"+")?;
        Ok(answer)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), GdbError> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes)?;
        Ok(stream.flush()?)
    }

    fn byte(&mut self) -> Result<u8, GdbError> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn packet(&mut self) -> Result<String, GdbError> {
        let mut bytes = Vec::new();
        Read::take(&mut self.stream, LONGEST_ANSWER).read_until(b'#', &mut bytes)?;
        if bytes.is_empty() {
            return Err(GdbError::Gone);
        }
        bytes.extend([self.byte()?, self.byte()?]);
        said(&bytes).ok_or_else(|| garbled(&bytes))
    }
}

fn refused(request: &str, answer: String) -> GdbError {
    // A write is as long as what it writes.
    let request = request.split(':').next().unwrap_or(request).to_owned();
    GdbError::Refused { request, answer }
}

fn garbled(bytes: &[u8]) -> GdbError {
    let some = bytes.get(..32).unwrap_or(bytes);
    GdbError::Garbled(String::from_utf8_lossy(some).into_owned())
}

fn sum(text: &str) -> u8 {
    text.bytes().fold(0, u8::wrapping_add)
}

fn packet(text: &str) -> String {
    format!("${text}#{:02x}", sum(text))
}

/// What a whole packet says; `None` if it is none, or not as it was sent.
fn said(packet: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(packet).ok()?;
    let (text, digits) = text.strip_prefix('$')?.split_once('#')?;
    (u8::from_str_radix(digits, 16).ok()? == sum(text)).then(|| text.to_owned())
}

/// Memory as answers have it: two hexadecimal digits a byte.
fn bytes_of(answer: &str) -> Option<Vec<u8>> {
    let pairs = answer.as_bytes().chunks(2);
    pairs
        .map(|pair| match std::str::from_utf8(pair) {
            Ok(digits) if digits.len() == 2 => u8::from_str_radix(digits, 16).ok(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// A debugger whose answers are known beforehand.
    struct Script {
        answers: Cursor<Vec<u8>>,
        heard: Vec<u8>,
    }

    impl Read for Script {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.answers.read(into)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.heard.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn answering(answers: &str) -> Debugger<Script> {
        Debugger::new(Script {
            answers: Cursor::new(answers.into()),
            heard: Vec::new(),
        })
    }

    fn heard(debugger: &Debugger<Script>) -> &str {
        std::str::from_utf8(&debugger.stream.get_ref().heard).unwrap()
    }

    #[test]
    fn packets_have_their_sum() {
        // 'O' + 'K' = 0x4f + 0x4b; 'm' + '0' + ',' + '4' = 0x6d + 0x30 + 0x2c + 0x34.
        assert_eq!(packet("OK"), "$OK#9a");
        assert_eq!(packet("m0,4"), "$m0,4#fd");
        assert_eq!(packet(""), "$#00");
        // 3 times 'z' is 366, of which 110 are left.
        assert_eq!(packet("zzz"), "$zzz#6e");
    }

    #[test]
    fn a_packet_says_what_is_in_it() {
        assert_eq!(said(b"$OK#9a").as_deref(), Some("OK"));
        assert_eq!(said(b"$#00").as_deref(), Some(""));
        for wrong in [&b"$OK#9b"[..], b"OK#9a", b"$OK9a", b"$OK#zz", b"$\xff#ff"] {
            assert_eq!(said(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_request_is_sent_once_and_its_answer_acknowledged() {
        let mut debugger = answering("+$OK#9a");
        debugger.set_breakpoint(0x20_0000).unwrap();
        assert_eq!(heard(&debugger), format!("{}+", packet("Z1,200000,1")));
    }

    #[test]
    fn memory_comes_in_pieces() {
        let pieces = [CHUNK, 3].map(|length| packet(&"a5".repeat(length)));
        let mut debugger = answering(&format!("+{}+{}", pieces[0], pieces[1]));
        let bytes = debugger.read(0x1000, CHUNK + 3).unwrap();
        assert_eq!(bytes, vec![0xa5; CHUNK + 3]);
        let requests = ["m1000,800", "m1800,3"].map(|request| packet(request) + "+");
        assert_eq!(heard(&debugger), requests.concat());
    }

    #[test]
    fn memory_is_written_as_digits() {
        let mut debugger = answering("+$OK#9a");
        debugger.write(0x9, &[0x01, 0xfe]).unwrap();
        assert_eq!(heard(&debugger), packet("M9,2:01fe") + "+");
    }

    #[test]
    fn less_memory_than_asked_for_is_an_error() {
        for answer in ["E14", "a5", "a5a5a", "xxxx", ""] {
            let mut debugger = answering(&format!("+{}", packet(answer)));
            let error = debugger.read(0x10, 2).unwrap_err().to_string();
            let told = format!("QEMU's debugger answers '{answer}' to 'm10,2'");
            assert_eq!(error, told);
        }
    }

    #[test]
    fn a_refusal_names_the_request_without_what_it_would_write() {
        let mut debugger = answering(&format!("+{}", packet("E22")));
        let error = debugger.write(0x10, &[1]).unwrap_err().to_string();
        assert_eq!(error, "QEMU's debugger answers 'E22' to 'M10,1'");
    }

    #[test]
    fn only_a_trap_is_a_breakpoint() {
        let stop = |answer: &str| answering(&format!("+{}", packet(answer))).run_to_breakpoint();
        assert!(stop("T05thread:01;").is_ok());
        assert!(stop("S05").is_ok());
        for other in ["T02thread:01;", "W00", "OK"] {
            assert!(matches!(stop(other), Err(GdbError::Refused { .. })));
        }
    }

    #[test]
    fn an_end_within_a_packet_or_before_it_is_the_debuggers_end() {
        for answers in ["", "+", "+$O", "+$OK#", "+$OK#9"] {
            let ended = answering(answers).use_physical_addresses();
            assert!(matches!(ended, Err(GdbError::Gone)), "{answers}");
        }
    }

    #[test]
    fn no_answer_is_longer_than_any_can_be() {
        let endless = "+$".to_owned() + &"0".repeat(2 * LONGEST_ANSWER as usize);
        let error = answering(&endless).read(0, 1).unwrap_err();
        assert!(matches!(error, GdbError::Garbled(_)));
        assert!(error.to_string().len() < 100);
    }

    #[test]
    fn what_is_no_packet_is_told() {
        for answers in ["-", "+$OK#9b", "+OK#9a"] {
            let told = answering(answers).use_physical_addresses();
            assert!(matches!(told, Err(GdbError::Garbled(_))), "{answers}");
        }
    }
}
