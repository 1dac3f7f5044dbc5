//! A `tokenizer.model` of SentencePiece: as much of the wire format as a vocabulary takes.

/// A piece of the vocabulary.
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) score: f32,
    /// 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte: as in GGUF.
    pub(crate) kind: u64,
}

pub(crate) struct Model {
    pub(crate) pieces: Vec<Piece>,
    /// Whether a space is put before a text.
    pub(crate) add_dummy_prefix: bool,
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Float(f32),
}

pub(crate) fn read(bytes: &[u8]) -> Model {
    let mut model = Model { pieces: Vec::new(), add_dummy_prefix: true };
    for (number, field) in fields(bytes) {
        match (number, field) {
            (1, Field::Bytes(piece)) => model.pieces.push(read_piece(piece)),
            (3, Field::Bytes(normalizer)) => {
                for (number, field) in fields(normalizer) {
                    if let (3, Field::Number(value)) = (number, field) {
                        model.add_dummy_prefix = value != 0;
                    }
                }
            }
            _ => {}
        }
    }
    model
}

fn read_piece(bytes: &[u8]) -> Piece {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: 1 };
    for (number, field) in fields(bytes) {
        match (number, field) {
            (1, Field::Bytes(text)) => piece.text = String::from_utf8(text.to_vec()).unwrap(),
            (2, Field::Float(score)) => piece.score = score,
            (3, Field::Number(kind)) => piece.kind = kind,
            _ => {}
        }
    }
    piece
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => {
                bytes = &bytes[8..];
                continue;
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                let (field, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(field)
            }
            5 => {
                let (field, rest) = bytes.split_at(4);
                bytes = rest;
                Field::Float(f32::from_le_bytes(field.try_into().unwrap()))
            }
            other => panic!("wire type {other}"),
        };
        found.push((tag >> 3, field));
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}
