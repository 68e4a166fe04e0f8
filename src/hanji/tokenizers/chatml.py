"""The chat template of blank models: ChatML, with marks around what the assistant says."""

from __future__ import annotations

from typing import Final

PAD: Final = "<|pad|>"
END_OF_TEXT: Final = "<|endoftext|>"
TURN_START: Final = "<|im_start|>"
TURN_END: Final = "<|im_end|>"

TEMPLATE: Final = """\
{{- bos_token }}
{%- if tools %}
  {{- '<|im_start|>system\\n' }}
  {%- if messages and messages[0]['role'] == 'system' %}
    {{- messages[0]['content'] | trim + '\\n\\n' }}
  {%- endif %}
  {{- 'Functions you can call:\\n<tools>\\n' }}
  {%- for tool in tools %}
    {{- tool | tojson + '\\n' }}
  {%- endfor %}
  {{- '</tools>\\nA call is written <tool_call>{"name": ..., "arguments": {...}}</tool_call>.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
  {%- if message['role'] == 'assistant' %}
    {{- '<|im_start|>assistant\\n' }}
    {%- generation %}
      {{- (message['content'] or '') | trim }}
      {%- for call in message['tool_calls'] or [] %}
        {%- set function = call['function'] or call %}
        {{- '<tool_call>{"name": ' + function['name'] | tojson + ', "arguments": ' }}
        {%- if function['arguments'] is string %}
          {{- function['arguments'] }}
        {%- else %}
          {{- (function['arguments'] or {}) | tojson }}
        {%- endif %}
        {{- '}</tool_call>' }}
      {%- endfor %}
      {{- '<|im_end|>' }}
    {%- endgeneration %}
    {{- '\\n' }}
  {%- elif message['role'] not in ['system', 'user', 'tool'] %}
    {{- raise_exception('the role is none of system, user, assistant, tool: ' + message['role']) }}
  {%- elif not (tools and loop.first and message['role'] == 'system') %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>\\n' }}
  {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
  {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
"""Whitespace around a message is dropped, so that no token spans the border of an answer."""
