"""Chat templates for the tiny model, for the chat endpoint of a real server."""

from __future__ import annotations

GEMMA4 = """{{- bos_token -}}
{%- set ns = namespace(open=false) -%}
{%- if tools or messages[0]['role'] == 'system' -%}
{{- '<|turn>system\\n' -}}
{%- if messages[0]['role'] == 'system' -%}{{- messages[0]['content'] -}}{%- endif -%}
{%- for tool in tools or [] -%}
{%- set function = tool['function'] -%}
<|tool>declaration:{{ function['name'] }}{description:<|"|>{{ function['description'] }}<|"|>,parameters:{properties:{
{%- for key, value in function['parameters']['properties']|dictsort -%}
{{ key }}:{description:<|"|>{{ value['description'] }}<|"|>,type:<|"|>{{ value['type']|upper }}<|"|>}{{ ',' if not loop.last }}
{%- endfor -%}
},type:<|"|>OBJECT<|"|>}}<tool|>
{%- endfor -%}
{{- '<turn|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{%- set told = message['content'] or '' -%}
{%- if message['role'] == 'system' -%}
{%- elif message['tool_calls'] -%}
{{- '<|turn>model\\n' -}}
{%- for call in message['tool_calls'] -%}
{{- '<|tool_call>call:' + call['function']['name'] + '{' -}}
{%- for key, value in call['function']['arguments']|dictsort -%}
{{ key }}:<|"|>{{ value }}<|"|>{{ ',' if not loop.last }}
{%- endfor -%}
{{- '}<tool_call|>' -}}
{%- endfor -%}
{%- for result in message['tool_responses'] or [] -%}
{{- '<|tool_response>response:' + result['name'] + '{value:<|"|>' + result['response'] + '<|"|>}<tool_response|>' -}}
{%- endfor -%}
{%- set ns.open = true -%}
{%- elif message['role'] == 'tool' -%}
{{- '<|tool_response>response:' + message['name'] + '{value:<|"|>' + told + '<|"|>}<tool_response|>' -}}
{%- elif message['role'] == 'assistant' and told.startswith('call:') -%}
{{- '<|turn>model\\n<|tool_call>' + told.replace('"', '<|"|>') + '<tool_call|>' -}}
{%- set ns.open = true -%}
{%- elif ns.open and told.startswith('response:') -%}
{{- '<|tool_response>' + told.replace('"', '<|"|>') + '<tool_response|>' -}}
{%- else -%}
{{- '<turn|>\\n' if ns.open else '' -}}
{%- set ns.open = false -%}
{{- '<|turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\\n' + told + '<turn|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and not ns.open -%}{{- '<|turn>model\\n' -}}{%- endif -%}
"""
"""llama-server picks its Gemma 4 reader by the quoted call opening, and allows several calls because the template shows
several. It then hands results over as `tool_responses` of the message with the calls.

The tiny model was trained on results in the model's own turn, and answers them nowhere else: so a result that is told in a
user's text, as `call:` and `response:` without special tokens, is put there, too.
"""

FUNCTIONGEMMA = """{{- bos_token -}}
{%- for message in messages -%}
{%- set role = {'assistant': 'model', 'system': 'developer'}.get(message['role'], message['role']) -%}
{{- '<start_of_turn>' + role + '\\n' + message['content'] + '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<start_of_turn>model\\n' -}}{%- endif -%}
"""
"""FunctionGemma's turns, without tools."""
