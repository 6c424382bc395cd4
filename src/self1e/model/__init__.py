"""The paper, and nothing else but `stem`, which small models of photographs have. Read in this order:

- `config`: what can be chosen: the rung of the ladder, the pathways, the weights of the losses
- `attention_mask`: the dual perception pathways, drawn
- `refilling`: self-replication, RFR and RFA, from features to mask logits
- `losses`: cross-entropy and Dice of masks
- `rows`, `batch`: rows of tokens, and where in them things stand
- `network`: the model that puts them together, on transformers' InternVL
"""
