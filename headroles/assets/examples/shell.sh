event=$(curl -s http://127.0.0.1:7860/gradio_api/call/analyze -H "Content-Type: application/json" \
  -d '{"data": ["headroles-tiny", "The cat sat on the mat. The cat sat on the"]}' | cut -d '"' -f 4)
curl -sN http://127.0.0.1:7860/gradio_api/call/analyze/$event
