"""Real consumers, deployed as they are; `streamkit demo` runs them."""
