"""Training of the bundled toy models, run by hand on a developer's machine.

Lives here: the grammar of sentences, the speech synthesis, both models' training and evaluation, the scripts of the
toys' sample recordings. In: seeds, and Debian's espeak-ng, flite and ffmpeg. Out: `workers/demo/models/` and
`tests/samples/`. The package uses only the first: it never imports this one, and no image and no wheel contains it.
"""
