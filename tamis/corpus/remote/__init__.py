"""Files elsewhere: on a web server, in an object store, on the Hugging Face hub; tagged and downloaded."""
