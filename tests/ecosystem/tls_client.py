"""Does the TLS echo give back what it gets? asyncio and ssl of the standard library.

tls_client.py PORT CERTIFICATE.DER
"""
import asyncio
import random
import ssl
import sys


async def main(port: int, certificate: str) -> None:
    with open(certificate, "rb") as file:
        context = ssl.create_default_context(cadata=file.read())
    # The certificate is its own authority and says no more about that.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost"
    )
    body = random.Random(1).randbytes(1_000_000)

    async def send() -> None:
        for at in range(0, len(body), 30_000):
            writer.write(body[at : at + 30_000])
            await writer.drain()

    sending = asyncio.create_task(send())
    echo = await reader.readexactly(len(body))
    await sending
    assert echo == body, "other bytes came back"
    writer.close()  # says close_notify, and waits for the other's
    await writer.wait_closed()
    print(f"{len(echo)} bytes came back, and then the end")


asyncio.run(asyncio.wait_for(main(int(sys.argv[1]), sys.argv[2]), 50))
