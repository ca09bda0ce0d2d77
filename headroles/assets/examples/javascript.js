const server = "http://127.0.0.1:7860";

// asks for a result, then waits for it; the answer's last two lines say how it ended
async function call(endpoint, ...data) {
  const address = server + "/gradio_api/call/" + endpoint;
  const headers = { "Content-Type": "application/json" };
  const asked = await fetch(address, { method: "POST", headers, body: JSON.stringify({ data }) });
  const { event_id } = await asked.json();
  const answer = await (await fetch(address + "/" + event_id)).text();
  const [event, text] = answer.trim().split("\n").slice(-2);
  const result = JSON.parse(text.replace("data: ", ""));
  if (event !== "event: complete") throw new Error(result.error);
  return result[0];
}

call("analyze", "headroles-tiny", "The cat sat on the mat. The cat sat on the").then((result) => {
  for (const role of result.roles) console.log(role.key, role.active, role.reason);
});
