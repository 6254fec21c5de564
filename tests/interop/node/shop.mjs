// mppx as a server: an HTTP server of Node that sells one thing, gated as mppx's documentation shows it.
import { createServer } from 'node:http'
import { Errors, Expires, Method, server, z } from './peers.mjs'

const charge = Method.from({
  name: 'mock',
  intent: 'charge',
  schema: {
    credential: { payload: z.object({ proof: z.string() }) },
    request: z.object({
      amount: z.string(),
      currency: z.string(),
      recipient: z.optional(z.string()),
      externalId: z.optional(z.string()),
    }),
  },
})

const open = new Map() // by URL

export const operations = {
  async 'shop.open'({ secretKey, realm }) {
    const seen = { payments: 0, sources: [] }
    const method = Method.toServer(charge, {
      async verify({ credential }) {
        const { proof } = credential.payload
        if (!proof.startsWith('ok')) throw new Errors.VerificationFailedError({ reason: 'not paid' })
        seen.payments += 1
        seen.sources.push(credential.source ?? null)
        return { method: 'mock', status: 'success', reference: `mppx-${proof}`, timestamp: new Date().toISOString() }
      },
    })
    const mppx = server.Mppx.create({ methods: [method], realm, secretKey })
    const price = { amount: '100', currency: 'usd' }
    const routes = {
      '/paid': price,
      '/described': { ...price, description: 'Fünf “Äpfel” 🍎' },
      '/recipient': { ...price, recipient: 'acct_1', externalId: 'order 7' },
      '/expired': { ...price, expires: Expires.seconds(-60) },
    }
    const listener = server.Request.toNodeListener(async (request) => {
      const options = routes[new URL(request.url).pathname]
      if (!options) return new Response('not found', { status: 404 })
      const result = await mppx.charge(options)(request)
      if (result.status === 402) return result.challenge
      return result.withReceipt(Response.json({ echo: await request.text(), method: request.method }))
    })
    const listening = createServer(listener)
    await new Promise((done) => listening.listen(0, '127.0.0.1', done))
    const url = `http://127.0.0.1:${listening.address().port}`
    open.set(url, { listening, seen })
    return { url }
  },
  'shop.seen': ({ url }) => open.get(url).seen,
  async 'shop.close'({ url }) {
    const { listening } = open.get(url)
    listening.closeAllConnections()
    await new Promise((done) => listening.close(done))
    open.delete(url)
    return {}
  },
}
