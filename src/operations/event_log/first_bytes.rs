//! What the first bytes of a file say about it.

/// UTF-8's mark at the beginning of a file, which Windows programs write. It says nothing.
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// Files that are compressed, by their first bytes, and the command that writes what is in them.
const COMPRESSED: [(&[u8], &str, &str); 5] = [
    (b"\x1f\x8b", "gzip", "gunzip -c"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstd -dc"),
    (b"\xfd7zXZ\0", "xz", "xz -dc"),
    (b"BZh", "bzip2", "bzip2 -dc"),
    (b"PK\x03\x04", "zip", "unzip -p"),
];

/// The first line without UTF-8's mark; the error says what the file is instead of an event log.
pub(super) fn check(line: &[u8]) -> Result<&[u8], String> {
    for (beginning, format, command) in COMPRESSED {
        if line.starts_with(beginning) {
            return Err(format!(
                "the log is compressed with {format}: decompress it first, for example with `{command} FILE | emmett import -`"
            ));
        }
    }
    if is_utf16(line) {
        return Err(
            "the log is UTF-16, and an event log is UTF-8: convert it first, for example with `iconv -f UTF-16 -t UTF-8`"
                .to_owned(),
        );
    }
    Ok(line.strip_prefix(UTF8_MARK).unwrap_or(line))
}

/// By its mark, or by the zero beside the first character.
fn is_utf16(line: &[u8]) -> bool {
    matches!(
        line,
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'{' | b'[', 0, ..] | [0, b'{' | b'[', ..]
    )
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_log_goes_on_without_its_mark() {
        assert_eq!(check(b"{}"), Ok(&b"{}"[..]));
        assert_eq!(check(b"\xef\xbb\xbf{}"), Ok(&b"{}"[..]));
        assert_eq!(check(b""), Ok(&b""[..]));
    }

    #[test]
    fn other_files_are_named_with_the_command_that_helps() {
        let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let swapped: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_be_bytes).collect();
        for (beginning, words) in [
            (
                &b"\x1f\x8b\x08\x00"[..],
                "`gunzip -c FILE | emmett import -`",
            ),
            (&b"\x28\xb5\x2f\xfd\x04"[..], "zstd"),
            (&b"\xfd7zXZ\0\0"[..], "xz"),
            (&b"BZh91AY"[..], "bzip2"),
            (&b"PK\x03\x04\x14"[..], "zip"),
            (&b"\xff\xfe{\0"[..], "`iconv -f UTF-16 -t UTF-8`"),
            (&b"\xfe\xff\0{"[..], "UTF-16"),
            (&utf16[..], "UTF-16"),
            (&swapped[..], "UTF-16"),
        ] {
            let error = check(beginning).expect_err(words);
            assert!(error.contains(words), "{error}");
        }
    }
}
