//! A writer of GGUF files: as small as the parser's tests need, and able to lie.

use crate::{Array, DType, Value};

struct Entry {
    name: String,
    type_id: u32,
    shape: Vec<u64>,
    offset: Option<u64>,
    data: Vec<u8>,
}

/// Writes a GGUF file.
pub struct GgufBuilder {
    version: u32,
    alignment: usize,
    metadata: Vec<(String, Value)>,
    tensors: Vec<Entry>,
}

impl Default for GgufBuilder {
    fn default() -> Self {
        Self { version: 3, alignment: 32, metadata: Vec::new(), tensors: Vec::new() }
    }
}

impl GgufBuilder {
    /// An empty file of version 3.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the version.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Sets the alignment, and the key that says so.
    #[must_use]
    pub fn alignment(mut self, alignment: u32) -> Self {
        self.alignment = alignment as usize;
        self.meta("general.alignment", Value::U32(alignment))
    }

    /// Adds a key, whether or not it is there.
    #[must_use]
    pub fn meta(mut self, key: &str, value: Value) -> Self {
        self.metadata.push((key.to_owned(), value));
        self
    }

    /// Puts a value in the place of a key's, or adds it.
    #[must_use]
    pub fn replace(mut self, key: &str, value: Value) -> Self {
        self.metadata.retain(|(k, _)| k != key);
        self.meta(key, value)
    }

    /// Takes a key out.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.metadata.retain(|(k, _)| k != key);
        self
    }

    /// Takes a tensor out.
    #[must_use]
    pub fn without_tensor(mut self, name: &str) -> Self {
        self.tensors.retain(|t| t.name != name);
        self
    }

    /// Adds a tensor behind the others. `shape` has the outermost dimension first.
    #[must_use]
    pub fn tensor(self, name: &str, dtype: DType, shape: &[u64], data: Vec<u8>) -> Self {
        self.raw_tensor(name, dtype.gguf_id(), shape, None, data)
    }

    /// Adds a tensor of 32-bit floats.
    #[must_use]
    pub fn f32_tensor(self, name: &str, shape: &[u64], data: &[f32]) -> Self {
        self.tensor(name, DType::F32, shape, data.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    /// Adds a tensor that may lie about its type and its offset.
    #[must_use]
    pub fn raw_tensor(
        mut self,
        name: &str,
        type_id: u32,
        shape: &[u64],
        offset: Option<u64>,
        data: Vec<u8>,
    ) -> Self {
        self.tensors.push(Entry { name: name.to_owned(), type_id, shape: shape.to_vec(), offset, data });
        self
    }

    /// The bytes of the file.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            write_string(&mut out, key);
            write_value(&mut out, value);
        }
        let mut data = Vec::new();
        for t in &self.tensors {
            write_string(&mut out, &t.name);
            out.extend((t.shape.len() as u32).to_le_bytes());
            for dimension in t.shape.iter().rev() {
                out.extend(dimension.to_le_bytes());
            }
            out.extend(t.type_id.to_le_bytes());
            pad(&mut data, self.alignment);
            out.extend(t.offset.unwrap_or(data.len() as u64).to_le_bytes());
            data.extend_from_slice(&t.data);
        }
        pad(&mut out, self.alignment);
        out.extend(data);
        out
    }
}

fn pad(out: &mut Vec<u8>, alignment: usize) {
    out.resize(out.len().next_multiple_of(alignment.max(1)), 0);
}

fn write_string(out: &mut Vec<u8>, s: &str) {
    out.extend((s.len() as u64).to_le_bytes());
    out.extend_from_slice(s.as_bytes());
}

/// Writes a value with its type before it.
pub fn write_value(out: &mut Vec<u8>, value: &Value) {
    let (id, bytes): (u32, Vec<u8>) = match value {
        Value::U8(v) => (0, vec![*v]),
        Value::I8(v) => (1, v.to_le_bytes().into()),
        Value::U16(v) => (2, v.to_le_bytes().into()),
        Value::I16(v) => (3, v.to_le_bytes().into()),
        Value::U32(v) => (4, v.to_le_bytes().into()),
        Value::I32(v) => (5, v.to_le_bytes().into()),
        Value::F32(v) => (6, v.to_le_bytes().into()),
        Value::Bool(v) => (7, vec![u8::from(*v)]),
        Value::String(s) => {
            let mut bytes = Vec::new();
            write_string(&mut bytes, s);
            (8, bytes)
        }
        Value::Array(a) => {
            let mut bytes = Vec::new();
            write_array(&mut bytes, a);
            (9, bytes)
        }
        Value::U64(v) => (10, v.to_le_bytes().into()),
        Value::I64(v) => (11, v.to_le_bytes().into()),
        Value::F64(v) => (12, v.to_le_bytes().into()),
    };
    out.extend(id.to_le_bytes());
    out.extend(bytes);
}

fn write_array(out: &mut Vec<u8>, array: &Array) {
    let (id, bytes): (u32, Vec<u8>) = match array {
        Array::U8(v) => (0, v.clone()),
        Array::I8(v) => (1, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Array::U16(v) => (2, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Array::I16(v) => (3, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Array::U32(v) => (4, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Array::I32(v) => (5, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Array::F32(v) => (6, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Array::Bool(v) => (7, v.iter().map(|x| u8::from(*x)).collect()),
        Array::String(v) => {
            let mut bytes = Vec::new();
            v.iter().for_each(|s| write_string(&mut bytes, s));
            (8, bytes)
        }
        Array::Array(v) => {
            let mut bytes = Vec::new();
            v.iter().for_each(|a| write_array(&mut bytes, a));
            (9, bytes)
        }
        Array::U64(v) => (10, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Array::I64(v) => (11, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Array::F64(v) => (12, v.iter().flat_map(|x| x.to_le_bytes()).collect()),
    };
    out.extend(id.to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    out.extend(bytes);
}
