"""The service: OpenAI's HTTP API over models of ours.

```python
from hanji.serving.app import create_app
from hanji.serving.models import Loaded, Models, Settings, start

models = Models({"demo/chat": start("demo/chat", Loaded(model, tokenizer, "causal"), Settings())})
app = create_app(models)  # any ASGI server runs it; hanji.serving.server has ours
```
"""
