//! Builds the program anew when its page was.

fn main() {
    println!("cargo:rerun-if-changed=console-ui/dist");
}
