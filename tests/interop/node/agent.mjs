// mppx as an agent: its fetch pays what a server asks for, with a method of our own that pays the mock provider.
import { Credential, Method, Receipt, client, z } from './peers.mjs'

const mock = (name) =>
  Method.from({
    name,
    intent: 'charge',
    schema: {
      credential: { payload: z.object({ proof: z.string() }) },
      request: z.object({ amount: z.string(), currency: z.string() }),
    },
  })

let paid = 0

// The credential of one payment. `interlude` is fetched after the challenge was read and before the credential
// goes out, the first time only: that is when a test lets a challenge expire.
const methodFor = (name, proof, state, interlude) =>
  Method.toClient(mock(name), {
    async createCredential({ challenge }) {
      state.challenges.push(challenge)
      if (interlude && state.credentials.length === 0)
        await fetch(interlude.url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: interlude.body })
      paid += 1
      const payload = { proof: proof ?? `ok-mppx-${process.pid}-${paid}` }
      const credential = Credential.serialize({ challenge, payload, source: 'did:key:mppx' })
      state.credentials.push(credential)
      return credential
    },
  })

export const operations = {
  async fetch({ url, method = 'GET', body, headers = {}, methods = ['mock'], proof, interlude }) {
    const state = { challenges: [], credentials: [] }
    const agent = client.Mppx.create({
      methods: methods.map((name) => methodFor(name, proof, state, interlude)),
      polyfill: false,
    })
    let response
    try {
      response = await agent.fetch(url, {
        method,
        headers,
        ...(body !== undefined && { body }),
        signal: AbortSignal.timeout(20_000),
      })
    } catch (error) {
      return { gaveUp: String(error.message ?? error), ...state }
    }
    const field = response.headers.get('payment-receipt')
    return {
      status: response.status,
      headers: Object.fromEntries(response.headers),
      body: await response.text(),
      receipt: field === null ? null : Receipt.fromResponse(response),
      ...state,
    }
  },
}
