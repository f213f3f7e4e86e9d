//! Compression of archives. Reading recognises it by content and bounds what a decoder may take of memory.

use std::io::{self, BufRead, Read, Write};

use bzip2::read::MultiBzDecoder;
use bzip2::write::BzEncoder;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use lzma_rust2::{XzOptions, XzReader, XzWriter};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// The largest dictionary or window that a decoder may keep, in bytes: what `xz -9` and `zstd --long` need, with room.
const WINDOW: u64 = 256 << 20;
/// How much goes into one zstd frame, in bytes: kept in memory while it is compressed.
const FRAME: usize = 4 << 20;

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Not at all.
    Plain,
    /// `.gz`
    Gzip,
    /// `.xz`
    Xz,
    /// `.bz2`
    Bzip2,
    /// `.zst`
    Zstd,
}

/// Compresses what `fill` writes.
///
/// # Errors
/// Those of `fill`, and of the writer.
pub(super) fn compress<W: Write>(
    compression: Compression,
    into: W,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<W> {
    match compression {
        Compression::Plain => {
            let mut into = into;
            fill(&mut into)?;
            Ok(into)
        }
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(into, flate2::Compression::default());
            fill(&mut encoder)?;
            encoder.finish()
        }
        Compression::Xz => {
            let mut encoder = XzWriter::new(into, XzOptions::with_preset(6))?;
            fill(&mut encoder)?;
            encoder.finish()
        }
        Compression::Bzip2 => {
            let mut encoder = BzEncoder::new(into, bzip2::Compression::best());
            fill(&mut encoder)?;
            encoder.finish()
        }
        Compression::Zstd => {
            let mut encoder = ZstdWriter { into, frame: Vec::new() };
            fill(&mut encoder)?;
            encoder.flush_frame()?;
            Ok(encoder.into)
        }
    }
}

/// What is compressed in an archive, whichever way it is.
///
/// # Errors
/// When its beginning cannot be read.
pub(super) fn decompress<'a, R: BufRead + 'a>(mut archive: R) -> io::Result<Box<dyn Read + 'a>> {
    // A buffered reader gives at least as much of a file in one go.
    let start = archive.fill_buf()?;
    Ok(match start {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(archive)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let kilobytes = u32::try_from(WINDOW >> 10).unwrap_or(u32::MAX);
            Box::new(XzReader::new_mem_limit(archive, true, kilobytes))
        }
        [b'B', b'Z', b'h', ..] => Box::new(MultiBzDecoder::new(archive)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Box::new(ZstdReader::new(archive)),
        _ => Box::new(archive),
    })
}

/// Writes a row of frames, which is what zstd reads as one file.
struct ZstdWriter<W> {
    into: W,
    frame: Vec<u8>,
}

impl<W: Write> ZstdWriter<W> {
    fn flush_frame(&mut self) -> io::Result<()> {
        if !self.frame.is_empty() {
            self.into.write_all(&compress_to_vec(self.frame.as_slice(), CompressionLevel::Fastest))?;
            self.frame.clear();
        }
        Ok(())
    }
}

impl<W: Write> Write for ZstdWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.frame.extend_from_slice(bytes);
        if self.frame.len() >= FRAME {
            self.flush_frame()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}

/// Reads every frame of a zstd file, and checks each.
struct ZstdReader<R> {
    from: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> ZstdReader<R> {
    fn new(from: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW);
        Self { from, decoder, in_frame: false }
    }

    /// Begins the next frame; none at the end.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.from.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.from) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let skipped = io::copy(&mut (&mut self.from).take(length.into()), &mut io::sink())?;
                    if skipped < length.into() {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }

    fn check(&self) -> io::Result<()> {
        match (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum()) {
            (Some(promised), Some(found)) if promised != found => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "a zstd frame does not have its checksum"))
            }
            _ => Ok(()),
        }
    }
}

impl<R: BufRead> Read for ZstdReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame {
                if !self.next_frame()? {
                    return Ok(0);
                }
                self.in_frame = true;
            }
            let decoded = self.decoder.read(into)?;
            if decoded > 0 {
                return Ok(decoded);
            }
            if self.decoder.is_finished() {
                self.check()?;
                self.in_frame = false;
            } else {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.from, one).map_err(io::Error::other)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;
    use std::process::{Command, Stdio};

    const ALL: [Compression; 4] = [Compression::Gzip, Compression::Xz, Compression::Bzip2, Compression::Zstd];

    fn compressed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        compress(compression, Vec::new(), |w| w.write_all(bytes)).unwrap()
    }

    fn decompressed(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decompress(bytes)?.read_to_end(&mut out)?;
        Ok(out)
    }

    /// Some of it repeats, some does not, and it is more than one zstd frame.
    fn sample() -> Vec<u8> {
        let noise = (0..FRAME as u64 / 16).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        noise.chain(std::iter::repeat_n(7, FRAME)).collect()
    }

    fn run(program: &str, bytes: &[u8]) -> Vec<u8> {
        let mut child =
            Command::new(program).args(["-d", "-c"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let bytes = bytes.to_owned();
        let writer = std::thread::spawn(move || stdin.write_all(&bytes));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(output.status.success());
        output.stdout
    }

    #[rstest]
    #[case(Compression::Gzip, "gzip")]
    #[case(Compression::Xz, "xz")]
    #[case(Compression::Bzip2, "bzip2")]
    #[case(Compression::Zstd, "zstd")]
    fn the_usual_programs_read_it(#[case] compression: Compression, #[case] program: &str) {
        let sample = sample();
        let bytes = compressed(compression, &sample);
        assert!(bytes.len() < sample.len() * 3 / 4, "{}", bytes.len());
        assert!(run(program, &bytes) == sample);
        assert!(decompressed(&bytes).unwrap() == sample);
    }

    #[test]
    fn several_streams_in_one_file_are_one() {
        for compression in ALL {
            let two = [compressed(compression, b"one"), compressed(compression, b"two")].concat();
            assert_eq!(decompressed(&two).unwrap(), b"onetwo", "{compression:?}");
        }
        // As pzstd writes: a frame to be skipped before each.
        let skip = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
        let two = [&skip[..], &compressed(Compression::Zstd, b"one")].concat();
        assert_eq!(decompressed(&two).unwrap(), b"one");
    }

    #[test]
    fn what_is_cut_short_is_an_error() {
        for compression in ALL {
            let bytes = compressed(compression, &sample());
            for cut in [bytes.len() - 1, bytes.len() / 2, 12] {
                assert!(decompressed(&bytes[..cut]).is_err(), "{compression:?} to {cut}");
            }
        }
    }

    proptest! {
        // Five programs' worth of work each.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_goes_in_comes_out(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            for compression in ALL {
                let packed = compressed(compression, &bytes);
                prop_assert_eq!(&decompressed(&packed).unwrap(), &bytes);
            }
        }

        #[test]
        fn damage_is_no_panic(at in any::<prop::sample::Index>(), to in any::<u8>()) {
            for compression in ALL {
                let mut bytes = compressed(compression, &[b"some text ".repeat(20), vec![7; 300]].concat());
                let at = at.index(bytes.len());
                bytes[at] = to;
                let _ = decompressed(&bytes);
            }
        }
    }
}
