"""Training of the bundled demo models, run by hand on a developer's machine.

Lives here: the grammar of sentences, the speech synthesis, both models' training and evaluation, the sample recordings'
scripts. In: seeds, and Debian's espeak-ng, flite and ffmpeg. Out: `workers/demo/models/` and `workers/demo/samples/`.
The package uses only these two folders: it never imports this one, and no image and no wheel contains it.
"""
