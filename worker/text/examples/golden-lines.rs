//! Writes the lines that tokenizers are compared on, as JSON, one a line.

#[path = "../tests/golden/lines.rs"]
#[allow(dead_code)]
mod lines;

fn main() {
    for line in lines::lines() {
        println!("{}", serde_json::Value::from(line));
    }
}
