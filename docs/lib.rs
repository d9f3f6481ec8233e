//! The walkthrough's programs, a folder a chapter, text and program side by side.
//!
//! It is being written: the chapters come one by one, each with its program, which a test builds and runs. Until then this
//! package holds its place in the workspace.
