from gradio_client import Client

client = Client("http://127.0.0.1:7860", verbose=False)

result = client.predict("headroles-tiny", "The cat sat on the mat. The cat sat on the", api_name="/analyze")
for role in result["roles"]:
    print(role["key"], role["active"], role["reason"])

head = result["roles"][1]["heads"][0]
view = client.predict("headroles-tiny", result["prompt"], head["layer"], head["head"], api_name="/pattern")
print(view["description"])
