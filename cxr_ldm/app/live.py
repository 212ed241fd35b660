"""Drawing while the visitor types: at each pause the prompt is sent as Ctrl+Enter sends it."""

PAUSE = 400  # milliseconds without a key
# The listener is put on the page once, and does nothing where the mark is not shown. A text area has no event of its
# own for this: Streamlit hears of its text when it loses the focus, or by Ctrl+Enter.
SCRIPT = f"""
<span class="draws-while-typing"></span>
<script>
if (!window.drawsWhileTyping) {{
  window.drawsWhileTyping = true;
  let timer;
  document.addEventListener("input", (event) => {{
    const box = event.target;
    if (!box.matches || !box.matches(".st-key-prompt textarea")) return;
    clearTimeout(timer);
    if (event.isComposing || !document.querySelector(".draws-while-typing")) return;
    const enter = {{ key: "Enter", code: "Enter", keyCode: 13, ctrlKey: true, bubbles: true, cancelable: true }};
    timer = setTimeout(() => box.dispatchEvent(new KeyboardEvent("keydown", enter)), {PAUSE});
  }});
}}
</script>
"""
