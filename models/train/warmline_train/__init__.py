"""Trains Warmline's two models, `watch` and `confirm`, on the features that `warmline features` writes.

In reading order: `plan`, `telephone` and `prepare` turn clips into calls, `features` extracts what the program sees,
`folds` splits, `fit` trains, `figures` and `calibration` measure, `export` and `card` write the model and its card.
"""
