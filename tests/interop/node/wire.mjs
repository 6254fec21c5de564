// What mppx makes of single wire texts: ids, challenges, credentials, receipts.
import { Challenge, Credential, PaymentRequest, Receipt } from './peers.mjs'

// An error of mppx is an answer here, not a failure of this program.
const attempt = (make) => {
  try {
    return make()
  } catch (error) {
    return { error: String(error.message ?? error) }
  }
}

const plain = (challenge) => ({ ...challenge, requestText: PaymentRequest.serialize(challenge.request) })

export const operations = {
  // Issue a challenge from its members: its id and its WWW-Authenticate value.
  'challenge.issue': ({ members, secretKey }) =>
    attempt(() => {
      const challenge = Challenge.from({ ...members, secretKey })
      return { id: challenge.id, field: Challenge.serialize(challenge) }
    }),
  // Read a field value that somebody else wrote; with a secret, also recompute its id.
  'challenge.read': ({ field, secretKey }) =>
    attempt(() => {
      const challenge = Challenge.deserialize(field)
      return { ...plain(challenge), ...(secretKey && { verified: Challenge.verify(challenge, { secretKey }) }) }
    }),
  // Every challenge of a response, as its own client finds them: repeated fields arrive joined with commas.
  'challenge.list': ({ fields }) =>
    attempt(() => {
      const headers = new Headers()
      for (const field of fields) headers.append('WWW-Authenticate', field)
      return { challenges: Challenge.fromHeadersList(headers).map(plain) }
    }),
  'credential.answer': ({ field, payload, source }) =>
    attempt(() => ({
      value: Credential.serialize(Credential.from({ challenge: Challenge.deserialize(field), payload, source })),
    })),
  'credential.read': ({ value, secretKey }) =>
    attempt(() => {
      const { challenge, payload, source } = Credential.deserialize(value)
      return { challenge: plain(challenge), payload, source, verified: Challenge.verify(challenge, { secretKey }) }
    }),
  'receipt.write': ({ receipt }) => attempt(() => ({ field: Receipt.serialize(Receipt.from(receipt)) })),
  'receipt.read': ({ field }) => attempt(() => ({ receipt: Receipt.deserialize(field) })),
}
