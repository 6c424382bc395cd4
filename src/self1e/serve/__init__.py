"""`self1e serve`: answers over HTTP, with the model in processes of its own.

app.py            what is asked at which address: native.py, xanylabeling.py, label_studio.py (with label_config.py)
guard.py          who may ask, and how much, before anything is read
engine.py         waiting requests and the model's processes: who gets what, and what is done when one dies
model_process.py  in such a process: reads pictures, segments what came together, packs the answers
"""
