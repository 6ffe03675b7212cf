"""All that we take of libp2p, in one place: keys and ids, the Noise handshake, gossipsub.

Everything else of it (swarm, host, muxer, transports, discovery, DHT) is neither used nor loaded.
"""

from node.net.libp2p import slim as slim

# isort: split
from libp2p.crypto.ed25519 import create_new_key_pair as node_key_pair
from libp2p.crypto.keys import KeyPair, PrivateKey, PublicKey
from libp2p.crypto.x25519 import create_new_key_pair as noise_key_pair
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.network.exceptions import SwarmException
from libp2p.peer.envelope import Envelope
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb.rpc_pb2 import RPC, ControlMessage, Message
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.rpc_queue import RpcQueue
from libp2p.security.noise.io import MAX_PLAINTEXT_LENGTH, NoiseTransportReadWriter
from libp2p.security.noise.patterns import PatternXX
from libp2p.security.secure_session import SecureSession
from libp2p.tools.anyio_service import background_trio_service

__all__ = [
    "ID",
    "MAX_PLAINTEXT_LENGTH",
    "RPC",
    "ControlMessage",
    "Envelope",
    "GossipSub",
    "Identify",
    "KeyPair",
    "Message",
    "NoiseTransportReadWriter",
    "PatternXX",
    "PrivateKey",
    "PublicKey",
    "Pubsub",
    "RpcQueue",
    "SecureSession",
    "SwarmException",
    "background_trio_service",
    "node_key_pair",
    "noise_key_pair",
]
