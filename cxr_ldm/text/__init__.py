"""Reports to text states: WordPiece tokens, a BERT-like encoder, and a projection that trains."""
