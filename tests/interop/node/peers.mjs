// The npm packages under test, from the folder that FLOVIA_NODE_MODULES names: it is not beside this file,
// so Node's own search would not find them.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const modules = process.env.FLOVIA_NODE_MODULES
if (!modules) throw new Error('set FLOVIA_NODE_MODULES to the node_modules folder that holds mppx')
const resolve = createRequire(`${modules}/flovia-interop.cjs`).resolve
const load = (name) => import(pathToFileURL(resolve(name)).href)

export const { Challenge, Credential, Errors, Expires, Method, PaymentRequest, Receipt, z } = await load('mppx')
export const client = await load('mppx/client')
export const server = await load('mppx/server')
