//! NumPy's .npy format: f4 and f8 of either byte order, C or Fortran order, any rank; for masks and
//! lengths also booleans and integers.

use std::fmt;

/// Real data that travels with the program; `data/README.md` names the sources.
pub mod embedded {
    /// f32 1797×10: the logits of a digits network.
    pub const LOGITS: &[u8] = include_bytes!("../data/digits_logits.npy");
    /// f32 1797×64: its features.
    pub const FEATURES: &[u8] = include_bytes!("../data/digits_features.npy");
    /// f32 442: the raw output of a regression network.
    pub const DIABETES: &[u8] = include_bytes!("../data/diabetes_raw.npy");
}

/// The elements of an array, in C order.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    Int(Vec<i64>),
}

/// An array.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its dimensions; empty for a scalar.
    pub shape: Vec<usize>,
    /// Its elements in C order.
    pub values: Values,
}

impl Array {
    /// The elements as f64, booleans as 0 and 1.
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.values {
            Values::F32(v) => v.iter().map(|&v| v.into()).collect(),
            Values::F64(v) => v.clone(),
            Values::Bool(v) => v.iter().map(|&v| f64::from(u8::from(v))).collect(),
            Values::Int(v) => v.iter().map(|&v| v as f64).collect(),
        }
    }
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

fn fault<T>(what: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed(what.into()))
}

/// Reads a whole file.
///
/// # Errors
/// If it is not an array of a supported type, complete and of the length its shape asks for.
pub fn parse(file: &[u8]) -> Result<Array, Malformed> {
    let Some(rest) = file.strip_prefix(b"\x93NUMPY") else {
        return fault("not a .npy file: it does not begin with \\x93NUMPY");
    };
    let (header_len, rest) = match rest {
        [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        [major, ..] if !(1..=3).contains(major) => return fault(format!("unknown .npy version {major}")),
        _ => return fault("the file ends inside its header"),
    };
    let Some((header, body)) = rest.split_at_checked(header_len) else {
        return fault("the file ends inside its header");
    };
    let Ok(header) = std::str::from_utf8(header) else { return fault("the header is not text") };
    let descr = quoted(field(header, "descr")?)?;
    let fortran = match field(header, "fortran_order")? {
        v if v.starts_with("True") => true,
        v if v.starts_with("False") => false,
        _ => return fault("fortran_order is neither True nor False"),
    };
    let shape = shape(field(header, "shape")?)?;
    let Some(count) = shape.iter().try_fold(1usize, |p, &d| p.checked_mul(d)) else {
        return fault("the shape overflows");
    };
    let (order, kind) = descr.split_at_checked(1).unwrap_or(("", ""));
    let big = match order {
        "<" | "|" | "=" => false,
        ">" => true,
        _ => return fault(format!("unknown type `{descr}`")),
    };
    let width = match kind {
        "f4" | "i4" | "u4" => 4,
        "f8" | "i8" | "u8" => 8,
        "b1" | "u1" | "i1" => 1,
        "i2" | "u2" => 2,
        _ => return fault(format!("type `{descr}` is not supported: f4 and f8 are")),
    };
    let Some(needed) = count.checked_mul(width) else { return fault("the shape overflows") };
    if needed != body.len() {
        return fault(format!("{} bytes of data where {shape:?} of `{descr}` needs {needed}", body.len()));
    }
    // Each element as eight little-endian bytes, whatever its width and order.
    let element = |i: usize| {
        let mut bytes = [0u8; 8];
        bytes[..width].copy_from_slice(&body[i * width..(i + 1) * width]);
        if big {
            bytes[..width].reverse();
        }
        u64::from_le_bytes(bytes)
    };
    let order = c_order(&shape, count, fortran);
    let values = match kind {
        "f4" => Values::F32(order.map(|i| f32::from_bits(element(i) as u32)).collect()),
        "f8" => Values::F64(order.map(|i| f64::from_bits(element(i))).collect()),
        "b1" => Values::Bool(order.map(|i| element(i) != 0).collect()),
        _ => {
            // Sign-extended for i, not for u; a u8 beyond i64 is no length anyway and saturates.
            let spare = 64 - 8 * width as u32;
            let signed = kind.starts_with('i');
            let int = |v: u64| {
                if signed { ((v << spare) as i64) >> spare } else { i64::try_from(v).unwrap_or(i64::MAX) }
            };
            Values::Int(order.map(|i| int(element(i))).collect())
        }
    };
    Ok(Array { shape, values })
}

/// The positions in the file of the elements in C order.
fn c_order(shape: &[usize], count: usize, fortran: bool) -> impl Iterator<Item = usize> + '_ {
    (0..count).map(move |mut i| {
        if !fortran {
            return i;
        }
        // Digits of i from the last dimension up, weighed with column-major strides.
        let mut stride = count;
        let mut position = 0;
        for &d in shape.iter().rev() {
            stride /= d;
            position += i % d * stride;
            i /= d;
        }
        position
    })
}

fn field<'a>(header: &'a str, name: &str) -> Result<&'a str, Malformed> {
    for quote in ['\'', '"'] {
        let key = format!("{quote}{name}{quote}");
        if let Some((_, rest)) = header.split_once(&key)
            && let Some(value) = rest.trim_start().strip_prefix(':')
        {
            return Ok(value.trim_start());
        }
    }
    fault(format!("the header has no `{name}`"))
}

fn quoted(value: &str) -> Result<&str, Malformed> {
    let inner = value.strip_prefix(['\'', '"']).and_then(|v| v.split_once(['\'', '"']));
    inner.map_or_else(|| fault("the type is not a plain one"), |(v, _)| Ok(v))
}

fn shape(value: &str) -> Result<Vec<usize>, Malformed> {
    let Some((inner, _)) = value.strip_prefix('(').and_then(|v| v.split_once(')')) else {
        return fault("the shape is not a tuple");
    };
    let dims = inner.split(',').map(str::trim).filter(|d| !d.is_empty());
    dims.map(|d| d.parse().map_err(|_| Malformed(format!("`{d}` is not a dimension")))).collect()
}

/// An f32 or f64 array as a .npy file: little-endian, C order, version 1.
pub fn write(shape: &[usize], kind: &str, data: impl Iterator<Item = u64>) -> Vec<u8> {
    let dims: String = shape.iter().map(|d| format!("{d}, ")).collect();
    let dims = if shape.len() == 1 { dims.trim_end() } else { dims.trim_end_matches(", ") };
    let mut header = format!("{{'descr': '<{kind}', 'fortran_order': False, 'shape': ({dims}), }}");
    // The data begins at a multiple of 64 bytes, after a newline.
    header.push_str(&" ".repeat((64 - (header.len() + 11) % 64) % 64));
    header.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    let width = if kind == "f4" { 4 } else { 8 };
    data.for_each(|bits| out.extend(&bits.to_le_bytes()[..width]));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(descr: &str, fortran: &str, shape: &str, body: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        let mut out = b"\x93NUMPY\x01\x00".to_vec();
        out.extend((header.len() as u16).to_le_bytes());
        out.extend(header.as_bytes());
        out.extend(body);
        out
    }

    #[test]
    fn embedded_files_parse() {
        for (bytes, shape) in [
            (embedded::LOGITS, vec![1797, 10]),
            (embedded::FEATURES, vec![1797, 64]),
            (embedded::DIABETES, vec![442]),
        ] {
            let array = parse(bytes).unwrap();
            assert_eq!(array.shape, shape);
            assert!(array.to_f64().iter().all(|v| v.is_finite()));
        }
    }

    #[test]
    fn both_orders_of_bytes_and_of_elements() {
        let c: Vec<f32> = (0..6).map(|v| v as f32).collect();
        let little: Vec<u8> = c.iter().flat_map(|v| v.to_le_bytes()).collect();
        let big: Vec<u8> = c.iter().flat_map(|v| v.to_be_bytes()).collect();
        let expected = Values::F32(c.clone());
        assert_eq!(parse(&file("<f4", "False", "(2, 3)", &little)).unwrap().values, expected);
        assert_eq!(parse(&file(">f4", "False", "(2, 3)", &big)).unwrap().values, expected);
        // Column-major 2×3: the file holds 0 1 | 2 3 | 4 5 as columns.
        let columns = parse(&file("<f4", "True", "(2, 3)", &little)).unwrap();
        assert_eq!(columns.values, Values::F32(vec![0.0, 2.0, 4.0, 1.0, 3.0, 5.0]));
        assert_eq!(
            parse(&file("<i2", "False", "(3,)", &[1, 0, 255, 255, 2, 0])).unwrap().values,
            Values::Int(vec![1, -1, 2])
        );
        assert_eq!(
            parse(&file("|b1", "False", "(2,)", &[1, 0])).unwrap().values,
            Values::Bool(vec![true, false])
        );
        assert_eq!(
            parse(&file("<f8", "False", "()", &1f64.to_le_bytes())).unwrap().shape,
            Vec::<usize>::new()
        );
        assert_eq!(parse(&file("<f8", "True", "(0, 3)", &[])).unwrap().values, Values::F64(vec![]));
    }

    #[test]
    fn what_is_written_reads_back() {
        for shape in [vec![], vec![6], vec![2, 3], vec![1, 2, 3]] {
            let n: usize = shape.iter().product();
            let data: Vec<f64> = (0..n).map(|v| v as f64 * -1.5).collect();
            let bytes = write(&shape, "f8", data.iter().map(|v| v.to_bits()));
            assert_eq!((bytes.len() - 8 * n) % 64, 0);
            assert_eq!(parse(&bytes).unwrap(), Array { shape, values: Values::F64(data) });
        }
    }

    #[test]
    fn malformed_files_give_a_reason() {
        let good = file("<f4", "False", "(2,)", &[0; 8]);
        for (bytes, word) in [
            (b"hello".to_vec(), "NUMPY"),
            (good[..8].to_vec(), "ends"),
            (good[..30].to_vec(), "ends"),
            (good[..good.len() - 1].to_vec(), "bytes"),
            (file("<c8", "False", "(1,)", &[0; 8]), "supported"),
            (file("<f4", "Maybe", "(2,)", &[0; 8]), "fortran_order"),
            (file("<f4", "False", "[2]", &[0; 8]), "tuple"),
            (file("<f4", "False", "(2x,)", &[0; 8]), "dimension"),
            (file("<f4", "False", "(99999999999, 99999999999)", &[0; 8]), "overflows"),
            (file("é", "False", "(2,)", &[0; 8]), "type"),
        ] {
            let error = parse(&bytes).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
